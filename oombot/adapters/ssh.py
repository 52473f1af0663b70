"""Hosts over SSH: one strict, pooled connection a host, sessions bounded, every await on the network in time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import asyncssh

from oombot.adapters.shell import OUTPUT_LIMIT, Lines, announced, argv_for, kill_argv
from oombot.adapters.ssh_client import (
    Client,
    KnownHosts,
    SshTarget,
    options_for,
    quoted,
    to_host_error,
)
from oombot.adapters.ssh_session import Session, Turns
from oombot.errors import (
    CommandFailedError,
    CommandTimeoutError,
    ConfigError,
    HostError,
    HostLoginError,
    HostUnreachableError,
    UnknownHostError,
)
from oombot.model import Command, CommandResult

__all__ = ["SshHosts", "SshTarget"]

_SESSIONS_PER_HOST: Final = 6  # sshd's MaxSessions is 10 by default; the rest is left to people
_HANDSHAKES: Final = 16
_TURN_S: Final = 60.0  # longer than any reading may take
_CONNECT_S: Final = 20.0
_KILL_S: Final = 3.0
_REFUSED_S: Final = 60.0  # OpenSSH 9.8 locks an address out that fails to log in again and again
_WINDOW: Final = 256 * 1024  # the default of 2 MiB is also the reader's buffer, a host
_FAULTS: Final = (asyncssh.Error, OSError, ValueError)


@dataclass(slots=True, eq=False)
class _Pooled:
    """A connection and how many commands talk through it now; a retired one closes with the last of them."""

    connection: asyncssh.SSHClientConnection
    users: int = 0
    retired: bool = False

    def retire(self) -> None:
        """Take no new commands."""
        self.retired = True
        if self.users == 0:
            self.connection.abort()

    def release(self) -> None:
        """One command less."""
        self.users -= 1
        if self.retired and self.users == 0:
            self.connection.close()


@dataclass(slots=True, kw_only=True)
class _Link:
    """One host's connection and what bounds its use."""

    target: SshTarget
    options: asyncssh.SSHClientConnectionOptions
    turns: Turns
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    pooled: _Pooled | None = None
    root: bool = False
    refused: HostLoginError | None = None
    refused_until: float = 0.0


class SshHosts:
    """Runs commands on hosts by SSH. known_hosts is read once and is always checked."""

    def __init__(
        self, targets: Iterable[SshTarget], *, known_hosts: Sequence[str], turn_s: float = _TURN_S
    ) -> None:
        """Take the hosts and the known_hosts files (a missing file knows nobody).

        `turn_s` is how long a command may wait for the bot's own other commands on its host.
        """
        self._turn_s = turn_s
        self._targets = {target.name: target for target in targets}
        self._known = KnownHosts(known_hosts)
        self._links: dict[str, _Link] = {}
        self._gate = asyncio.Semaphore(_HANDSHAKES)
        self._pool: set[_Pooled] = set()
        self._reapers: set[asyncio.Task[None]] = set()
        self._open = False

    @property
    def names(self) -> frozenset[str]:
        """The hosts that can be asked here."""
        return frozenset(self._targets)

    async def __aenter__(self) -> Self:
        """Read keys, known_hosts and ssh_config; a ConfigError names every file that is wrong."""
        problems = await asyncio.to_thread(self._known.load)
        keys: dict[str, Any] = {}
        for target in self._targets.values():
            try:
                options = await asyncio.to_thread(options_for, target, keys)
            except _FAULTS as error:
                problems.append(f"host {target.name}: {error}")
            else:
                self._links[target.name] = _Link(
                    target=target, options=options, turns=Turns(target.name, _SESSIONS_PER_HOST)
                )
            if target.jump is not None and getattr(self._targets.get(target.jump), "jump", "?") is not None:
                problems.append(f"host {target.name}: jump {target.jump} is no host that is reached directly")
        if problems:
            raise ConfigError(problems)
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection and refuse further use."""
        self._open = False
        await asyncio.gather(*self._reapers, return_exceptions=True)
        connections = [pooled.connection for pooled in self._pool]
        for connection in connections:
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.gather(*(each.wait_closed() for each in connections), return_exceptions=True)
        for connection in connections:
            connection.abort()
        await asyncio.sleep(0)  # asyncssh closes sockets in the next rounds of the loop
        self._pool.clear()
        self._links.clear()

    async def renew(self, host: str) -> None:
        """Take a new connection for what comes next; what runs now ends on the old one."""
        self._retire(self._link(host))

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Run to the end. Only a channel that could not be opened is tried again: nothing ever runs twice.

        `timeout_s` is the host's: waiting for our own other commands there comes before it.
        """
        link = self._link(host)
        async with link.turns.taken(change=command.sudo, within_s=self._turn_s):
            return await self._run(link, command, timeout_s)

    async def _run(self, link: _Link, command: Command, timeout_s: float) -> CommandResult:
        host, session = link.target.name, Session()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._channel(link, command, session, timeout_s, kill=not command.sudo) as channel,
            ):
                return await _talk(channel, session, command, host)
        except TimeoutError:
            if link.pooled is not None and link.pooled.users == 0:  # else keepalive will judge the connection
                self._retire(link)
            doing = f"finish {command.argv[0]}" if session.opened else "answer"
            raise CommandTimeoutError(
                f"{host} did not {doing} within {timeout_s:g} s; it may be short of memory itself."
            ) from None

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """Yield lines until the command ends; closing the iterator ends it on the host."""
        link, lines, session = self._link(host), Lines(), Session(streaming=True)
        async with (
            link.turns.taken(change=command.sudo, within_s=self._turn_s),
            self._channel(link, command, session, None, kill=True) as channel,
        ):
            try:
                channel.write(command.stdin.encode())
                channel.write_eof()
                async for chunk in session.chunks():
                    for line in lines.feed(chunk):
                        yield line
                for line in lines.close():
                    yield line
            except _FAULTS as error:
                raise to_host_error(error, link.target, self._known, running=True) from error

    def _link(self, host: str) -> _Link:
        if not self._open:
            raise HostError(
                f"{host} is asked before SSH was opened or after it was closed; nothing was sent."
            )
        if host not in self._links:
            raise UnknownHostError(f"There is no host {host} to reach by SSH; nothing was sent.")
        return self._links[host]

    @contextlib.asynccontextmanager
    async def _channel(
        self, link: _Link, command: Command, session: Session, timeout_s: float | None, *, kill: bool
    ) -> AsyncIterator[asyncssh.SSHClientChannel[bytes]]:
        """A channel on which the command was started; what still runs at the end is killed where `kill` allows.

        Where no channel could be opened on the pooled connection, it is tried once more on a new one.
        """
        had = link.pooled
        try:
            pooled, channel = await self._started(link, command, session, timeout_s)
        except _FAULTS as error:
            if session.opened or had is None:
                raise to_host_error(error, link.target, self._known, running=session.opened) from error
            if link.pooled is had:
                self._retire(link)
            try:
                pooled, channel = await self._started(link, command, session, timeout_s)
            except _FAULTS as again:
                raise to_host_error(again, link.target, self._known, running=session.opened) from again
        try:
            yield channel
        finally:
            _, pids = announced(bytes(session.stderr))
            channel.close()
            if kill and session.status is None and pids is not None and not pooled.connection.is_closed():
                self._reap(pooled, pids)
            pooled.release()

    async def _started(
        self, link: _Link, command: Command, session: Session, timeout_s: float | None
    ) -> tuple[_Pooled, asyncssh.SSHClientChannel[bytes]]:
        async with asyncio.timeout(_CONNECT_S):
            pooled = await self._connected(link)
            pooled.users += 1
            become = link.target.become and not link.root
            line = quoted(argv_for(command, become=become, timeout_s=timeout_s, announce=True))
            try:
                channel, _ = await pooled.connection.create_session(
                    lambda: session, line, encoding=None, window=_WINDOW, env=(), send_env=()
                )
            except BaseException:
                pooled.release()
                raise
            return pooled, channel

    def _retire(self, link: _Link) -> None:
        if link.pooled is not None:
            link.pooled.retire()
            link.pooled = None

    def _reap(self, pooled: _Pooled, pids: tuple[int, int]) -> None:
        """End a command that nobody waits for any more, without making anybody wait for that."""
        pooled.users += 1
        reaper = asyncio.create_task(_kill(pooled.connection, pids))
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reapers.discard)
        reaper.add_done_callback(lambda _: pooled.release())

    async def _connected(self, link: _Link) -> _Pooled:
        async with link.lock:
            if link.pooled is not None and not link.pooled.connection.is_closed():
                return link.pooled
            self._link(link.target.name)  # a command that waited may come after the end
            self._check_refused(link)
            tunnel = await self._connected(self._link(link.target.jump)) if link.target.jump else None
            async with self._gate:
                connection = await self._connect(link, tunnel.connection if tunnel else None)
            self._pool = {each for each in self._pool if not each.connection.is_closed()}
            link.pooled = _Pooled(connection)
            self._pool.add(link.pooled)
            link.root = connection.get_extra_info("username") == "root"
            return link.pooled

    async def _connect(
        self, link: _Link, tunnel: asyncssh.SSHClientConnection | None
    ) -> asyncssh.SSHClientConnection:
        await self._known.refresh()
        target = link.target
        client = Client()
        try:
            return await asyncssh.connect(
                target.address,
                target.port or (),
                tunnel=tunnel or (),
                config=None,
                options=link.options,
                known_hosts=self._known.loaded,
                client_factory=lambda: client,
            )
        except asyncio.CancelledError:
            client.abort()
            raise
        except _FAULTS as error:
            client.abort()
            mapped = to_host_error(error, target, self._known, offered=client.offer)
            if isinstance(mapped, HostLoginError):
                link.refused, link.refused_until = mapped, asyncio.get_running_loop().time() + _REFUSED_S
            raise mapped from error

    @staticmethod
    def _check_refused(link: _Link) -> None:
        left = link.refused_until - asyncio.get_running_loop().time()
        if link.refused is not None and left > 0:
            raise HostLoginError(
                f"{link.refused} It was not asked again; the next try is in {left:.0f} s.",
                fix=link.refused.fix,
            )


async def _talk(
    channel: asyncssh.SSHClientChannel[bytes], session: Session, command: Command, host: str
) -> CommandResult:
    """Give the command its input and wait for its end."""
    channel.write(command.stdin.encode())
    channel.write_eof()
    await session.ended.wait()
    if session.overflow:
        raise CommandFailedError(
            f"{command.argv[0]} on {host} printed over {OUTPUT_LIMIT >> 20} MiB; it was ended."
        )
    if session.status is None:
        raise HostUnreachableError(
            f"The link to {host} was lost while {command.argv[0]} ran; whether it finished is not known."
        )
    stderr, _ = announced(bytes(session.stderr))
    return CommandResult(exit_status=session.status, stdout=bytes(session.stdout), stderr=stderr)


async def _kill(connection: asyncssh.SSHClientConnection, pids: tuple[int, int]) -> None:
    """End a command on the host; where that fails its own time limit does it."""
    session = Session()
    with contextlib.suppress(TimeoutError, *_FAULTS):
        async with asyncio.timeout(_KILL_S):
            channel, _ = await connection.create_session(
                lambda: session, quoted(kill_argv(pids)), encoding=None
            )
            channel.write_eof()
            await session.ended.wait()
