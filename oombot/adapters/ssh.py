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
from oombot.adapters.ssh_session import Session
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
_CONNECT_S: Final = 20.0
_KILL_S: Final = 3.0
_REFUSED_S: Final = 60.0  # OpenSSH 9.8 locks an address out that fails to log in again and again
_WINDOW: Final = 256 * 1024  # the default of 2 MiB is also the reader's buffer, a host
_FAULTS: Final = (asyncssh.Error, OSError, ValueError)


@dataclass(slots=True, kw_only=True)
class _Link:
    """One host's connection and what bounds its use."""

    target: SshTarget
    options: asyncssh.SSHClientConnectionOptions
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    sessions: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SESSIONS_PER_HOST))
    connection: asyncssh.SSHClientConnection | None = None
    root: bool = False
    users: int = 0
    refused: HostLoginError | None = None
    refused_until: float = 0.0


class SshHosts:
    """Runs commands on hosts by SSH. known_hosts is read once and is always checked."""

    def __init__(self, targets: Iterable[SshTarget], *, known_hosts: Sequence[str]) -> None:
        """Take the hosts and the known_hosts files (a missing file knows nobody)."""
        self._targets = {target.name: target for target in targets}
        self._known = KnownHosts(known_hosts)
        self._links: dict[str, _Link] = {}
        self._gate = asyncio.Semaphore(_HANDSHAKES)
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
                self._links[target.name] = _Link(target=target, options=options)
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
        connections = [link.connection for link in self._links.values() if link.connection]
        for connection in connections:
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.gather(*(each.wait_closed() for each in connections), return_exceptions=True)
        for connection in connections:
            connection.abort()
        self._links.clear()

    async def run(self, host: str, command: Command, *, timeout_s: float) -> CommandResult:
        """Run to the end. Only a channel that could not be opened is tried again: nothing ever runs twice."""
        link = self._link(host)
        session = Session()
        try:
            async with asyncio.timeout(timeout_s), link.sessions, self._using(link):
                channel = await self._channel(link, command, session, timeout_s)
                try:
                    return await _talk(channel, session, command, host)
                finally:
                    self._end(link, channel, session, kill=not command.sudo)
        except TimeoutError:
            self._suspect(link)
            doing = f"finish {command.argv[0]}" if session.opened else "answer"
            raise CommandTimeoutError(
                f"{host} did not {doing} within {timeout_s:g} s; it may be short of memory itself."
            ) from None

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """Yield lines until the command ends; closing the iterator ends it on the host."""
        link, lines = self._link(host), Lines()
        async with link.sessions, self._using(link):
            session = Session(streaming=True)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    channel = await self._channel(link, command, session, None)
            except TimeoutError:
                self._suspect(link)
                raise HostUnreachableError(
                    f"{host} did not answer within {_CONNECT_S:g} s; nothing is followed."
                ) from None
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
            finally:
                self._end(link, channel, session, kill=True)

    def _end(
        self, link: _Link, channel: asyncssh.SSHClientChannel[bytes], session: Session, *, kill: bool
    ) -> None:
        """Close the channel and kill what still runs. A change (sudo) is not cut short because nobody waits."""
        channel.close()
        _, pids = announced(bytes(session.stderr))
        connection = link.connection
        if kill and session.status is None and pids is not None and connection is not None:
            reaper = asyncio.create_task(_kill(connection, pids))
            self._reapers.add(reaper)
            reaper.add_done_callback(self._reapers.discard)

    def _link(self, host: str) -> _Link:
        if not self._open:
            raise HostError(
                f"{host} is asked before SSH was opened or after it was closed; nothing was sent."
            )
        if host not in self._links:
            raise UnknownHostError(f"There is no host {host} to reach by SSH; nothing was sent.")
        return self._links[host]

    @contextlib.asynccontextmanager
    async def _using(self, link: _Link) -> AsyncIterator[None]:
        link.users += 1
        try:
            yield
        finally:
            link.users -= 1

    def _suspect(self, link: _Link) -> None:
        """After a time-out drop the connection, unless others still talk through it: keepalive judges it then."""
        if link.users == 0 and link.connection is not None:
            link.connection.abort()
            link.connection = None

    async def _channel(
        self, link: _Link, command: Command, session: Session, timeout_s: float | None
    ) -> asyncssh.SSHClientChannel[bytes]:
        """Start the command; once more on a new connection where no channel was opened on the pooled one."""
        pooled = link.connection
        try:
            return await self._start(link, command, session, timeout_s)
        except _FAULTS as error:
            if session.opened or pooled is None:
                raise to_host_error(error, link.target, self._known, running=session.opened) from error
        async with link.lock:
            if link.connection is pooled:
                if link.users == 1:
                    pooled.close()
                link.connection = None
        try:
            return await self._start(link, command, session, timeout_s)
        except _FAULTS as error:
            raise to_host_error(error, link.target, self._known, running=session.opened) from error

    async def _start(
        self, link: _Link, command: Command, session: Session, timeout_s: float | None
    ) -> asyncssh.SSHClientChannel[bytes]:
        connection = await self._connected(link)
        become = link.target.become and not link.root
        line = quoted(argv_for(command, become=become, timeout_s=timeout_s, announce=True))
        channel, _ = await connection.create_session(
            lambda: session, line, encoding=None, window=_WINDOW, env=(), send_env=()
        )
        return channel

    async def _connected(self, link: _Link) -> asyncssh.SSHClientConnection:
        async with link.lock:
            if link.connection is not None and not link.connection.is_closed():
                return link.connection
            link.connection = None
            self._check_refused(link)
            tunnel = await self._connected(self._link(link.target.jump)) if link.target.jump else None
            async with self._gate:
                link.connection = await self._connect(link, tunnel)
            link.root = link.connection.get_extra_info("username") == "root"
            return link.connection

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
