"""Hosts over SSH: one strict, pooled connection a login, sessions bounded, every await on the network in time."""

import asyncio
import contextlib
import random
import shlex
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

import asyncssh

from oombot.adapters.breaker import Backoff
from oombot.adapters.shell import OUTPUT_LIMIT, Lines, announced, argv_for, kill_argv
from oombot.adapters.ssh_faults import FAULTS, to_host_error
from oombot.adapters.ssh_gate import Limits
from oombot.adapters.ssh_link import Link, Pooled
from oombot.adapters.ssh_pool import Pool
from oombot.adapters.ssh_session import Session
from oombot.adapters.ssh_target import Login, SshTarget
from oombot.errors import CommandFailedError, CommandTimeoutError, HostError, HostUnreachableError
from oombot.model import Command, CommandResult

__all__ = ["Backoff", "Limits", "Login", "SshHosts", "SshTarget"]

_KILL_S: Final = 3.0
_NAMED_S: Final = 0.05
_FULL_S: Final = 0.2  # sshd gives a place free some time after the command in it has ended
_WINDOW: Final = 256 * 1024  # the default of 2 MiB is also the reader's buffer, a host


class SshHosts:
    """Runs commands on hosts by SSH. known_hosts is read once and is always checked."""

    def __init__(
        self,
        targets: Iterable[SshTarget],
        *,
        known_hosts: Sequence[str],
        limits: Limits | None = None,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Take the hosts and the known_hosts files (a missing file knows nobody)."""
        self._limits = limits or Limits()
        self.pool = Pool(
            targets,
            known_hosts=known_hosts,
            limits=self._limits,
            backoff=backoff or Backoff(),
            chance=chance,
        )
        self._reapers: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> frozenset[str]:
        """The hosts that can be asked here."""
        return frozenset(self.pool.targets)

    async def __aenter__(self) -> Self:
        """Read keys, known_hosts and ssh_config; a ConfigError names every file that is wrong."""
        await self.pool.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection and refuse further use."""
        await asyncio.gather(*self._reapers, return_exceptions=True)
        await self.pool.close()

    async def renew(self, host: str) -> None:
        """Take new connections for what comes next; what runs now ends on the old ones."""
        self.pool.link(host).retire()
        self.pool.link(host, acting=True).retire()

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Run to the end. Only a channel that could not be opened is tried again: nothing ever runs twice.

        `timeout_s` is the host's: waiting for our own other commands there comes before it.
        """
        link = self.pool.link(host, acting=command.sudo)
        async with link.turns.taken(change=command.sudo, within_s=self._limits.turn_s):
            return await self._run(link, command, timeout_s, asked=asked)

    async def _run(self, link: Link, command: Command, timeout_s: float, *, asked: bool) -> CommandResult:
        host, session = link.target.name, Session()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._channel(link, command, session, timeout_s, asked=asked) as channel,
            ):
                return await _talk(channel, session, command, host)
        except TimeoutError:
            if self.pool.queued(link):
                raise CommandTimeoutError(
                    f"oombot itself is busy logging in to other hosts and did not come to {host} within "
                    f"{timeout_s:g} s; nothing was sent."
                ) from None
            if link.pooled is not None and link.pooled.users == 0:  # else keepalive will judge the connection
                link.retire()
            doing = f"finish {command.argv[0]}" if session.opened else "answer"
            raise CommandTimeoutError(
                f"{host} did not {doing} within {timeout_s:g} s; it may be short of memory itself."
            ) from None

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """Yield lines until the command ends; closing the iterator ends it on the host."""
        link, lines, session = (
            self.pool.link(host, acting=command.sudo),
            Lines(),
            Session(streaming=True),
        )
        async with (
            link.turns.taken(change=command.sudo, within_s=self._limits.turn_s),
            self._channel(link, command, session, None, asked=False) as channel,
        ):
            try:
                _give(channel, command)
                async for chunk in session.chunks():
                    for line in lines.feed(chunk):
                        yield line
            except FAULTS as error:
                raise to_host_error(error, link.target, self.pool.known, running=True) from error

    @contextlib.asynccontextmanager
    async def _channel(
        self, link: Link, command: Command, session: Session, timeout_s: float | None, *, asked: bool
    ) -> AsyncIterator[asyncssh.SSHClientChannel[bytes]]:
        """A channel on which the command was started; what still runs at the end is killed where that is allowed."""
        try:
            pooled, channel = await self._opened(link, command, session, timeout_s, asked=asked)
        except FAULTS as error:
            raise to_host_error(error, link.target, self.pool.known, running=session.opened) from error
        try:
            yield channel
        finally:
            kill = (timeout_s is None or not command.sudo) and not command.forced
            if kill and session.status is None and not pooled.connection.is_closed():
                self._reap(link, pooled, channel, session)
            else:
                channel.close()
            pooled.release()

    async def _opened(
        self, link: Link, command: Command, session: Session, timeout_s: float | None, *, asked: bool
    ) -> tuple[Pooled, asyncssh.SSHClientChannel[bytes]]:
        """Start the command on the pooled connection, or on a new one where that one can not.

        Where the host opens no more sessions (MaxSessions) one of ours is given a moment to end first.
        """
        had = link.pooled if link.pooled is not None and link.pooled.usable else None
        try:
            return await self._started(link, command, session, timeout_s, asked=asked)
        except FAULTS as error:
            if session.opened or had is None:
                raise
            full = isinstance(error, asyncssh.ChannelOpenError) and had.usable and had.users > 0
        clock = asyncio.get_running_loop().time
        until = clock() + self._limits.full_s
        while full and had.usable and clock() < until:
            await had.freed(_FULL_S)
            with contextlib.suppress(asyncssh.ChannelOpenError):
                return await self._started(link, command, session, timeout_s, asked=asked)
        if link.pooled is had:
            link.retire()
        return await self._started(link, command, session, timeout_s, asked=asked)

    async def _started(
        self, link: Link, command: Command, session: Session, timeout_s: float | None, *, asked: bool
    ) -> tuple[Pooled, asyncssh.SSHClientChannel[bytes]]:
        pooled = await self.pool.connected(link, asked=asked)
        pooled.users += 1
        become = link.target.become and not link.root
        line = quoted(argv_for(command, become=become, timeout_s=timeout_s, announce=True))
        try:
            async with asyncio.timeout(self._limits.session_s):
                channel, _ = await pooled.connection.create_session(
                    lambda: session, line, encoding=None, window=_WINDOW, env=(), send_env=()
                )
        except BaseException:
            pooled.release()
            raise
        return pooled, channel

    def _reap(
        self, link: Link, pooled: Pooled, channel: asyncssh.SSHClientChannel[bytes], session: Session
    ) -> None:
        """End a command that nobody waits for any more, without making anybody wait for that."""
        pooled.users += 1
        reaper = asyncio.create_task(self._end(link, pooled, channel, session))
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reapers.discard)
        reaper.add_done_callback(lambda _: pooled.release())

    async def _end(
        self, link: Link, pooled: Pooled, channel: asyncssh.SSHClientChannel[bytes], session: Session
    ) -> None:
        """End a command by its own connection, or, where that one has no session left, by a new one."""
        pids = await _named(session)
        channel.close()
        if pids is None:
            return  # it was not begun, or ends by its own time limit
        with contextlib.suppress(HostError, *FAULTS):
            if await _killed(pooled.connection, pids):
                return
            if link.pooled is pooled:
                link.retire()
            another = await self.pool.connected(link)
            another.users += 1
            try:
                await _killed(another.connection, pids)
            finally:
                another.release()


def quoted(argv: Sequence[str]) -> str:
    """The one line that the login shell gets."""
    return shlex.join(argv)


def _give(channel: asyncssh.SSHClientChannel[bytes], command: Command) -> None:
    """Give the command its input; it may have ended already, without having read any."""
    with contextlib.suppress(BrokenPipeError):
        channel.write(command.stdin.encode())
        channel.write_eof()


async def _talk(
    channel: asyncssh.SSHClientChannel[bytes], session: Session, command: Command, host: str
) -> CommandResult:
    """Give the command its input and wait for its end."""
    _give(channel, command)
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


async def _named(session: Session) -> tuple[int, int] | None:
    """Who to kill: a command that was begun just now has yet to say so."""
    until = asyncio.get_running_loop().time() + _KILL_S
    while True:
        _, pids = announced(bytes(session.stderr))
        if pids is not None or session.ended.is_set() or asyncio.get_running_loop().time() > until:
            return pids
        await asyncio.sleep(_NAMED_S)


async def _killed(connection: asyncssh.SSHClientConnection, pids: tuple[int, int]) -> bool:
    """Kill a command on the host; false where the host opened no session. A failure is left to its time limit."""
    session = Session()
    try:
        async with asyncio.timeout(_KILL_S):
            channel, _ = await connection.create_session(
                lambda: session, quoted(kill_argv(pids)), encoding=None
            )
            channel.write_eof()
            await session.ended.wait()
    except asyncssh.ChannelOpenError:
        return False
    return True
