"""One login on one host: its connection, who uses it, whose turn it is, and when a failed one is tried again."""

import asyncio
import contextlib
import math

import asyncssh

from oombot.adapters.breaker import Breaker
from oombot.adapters.ssh_known import Offer
from oombot.adapters.ssh_session import Turns
from oombot.adapters.ssh_target import SshTarget
from oombot.errors import HostError


class Pooled:
    """A connection and how many talk through it now: commands, and the hosts behind it where it is a jump host's."""

    __slots__ = ("_freed", "connection", "retired", "users")

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        """Nobody uses it yet."""
        self.connection = connection
        self.users = 0
        self.retired = False
        self._freed: asyncio.Event | None = None

    @property
    def usable(self) -> bool:
        """Whether new commands may go through it."""
        return not self.retired and not self.connection.is_closed()

    def retire(self) -> None:
        """Take no new commands; it closes with the last of those it has."""
        self.retired = True
        if self.users == 0:
            self.connection.abort()

    def release(self) -> None:
        """One user less."""
        self.users -= 1
        if self._freed is not None:
            self._freed.set()
        if self.retired and self.users == 0:
            self.connection.close()

    async def freed(self, within_s: float) -> None:
        """Wait until one of its users is done, for so long at most."""
        self._freed = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._freed.wait(), within_s)


class Link:
    """One login (watching or acting) on one host, and everything that is remembered of it."""

    __slots__ = (
        "breaker",
        "connecting",
        "error",
        "kinds",
        "offer",
        "pooled",
        "queued",
        "root",
        "seen",
        "target",
        "turns",
    )

    def __init__(self, target: SshTarget, breaker: Breaker, places: int) -> None:
        """Not connected, and nothing wrong is known."""
        self.target = target
        self.breaker = breaker
        self.turns = Turns(target.name, places)
        self.pooled: Pooled | None = None
        self.connecting: asyncio.Task[Pooled] | None = None
        self.queued = False  # the login waits for the bot's own others
        self.root = False
        self.error: HostError | None = None  # of the last try
        self.offer: Offer | None = None  # the key that was not believed at the last try
        self.seen: object = None  # known_hosts as it was then
        self.kinds: tuple[str, ...] = ()  # the host keys to ask for; none: those on file

    def retire(self) -> None:
        """Take a new connection next time."""
        if self.pooled is not None:
            self.pooled.retire()
            self.pooled = None

    def check(self, *, asked: bool) -> None:
        """Raise what went wrong last while it is too early for another try."""
        wait_s = self.breaker.wait_s(asked=asked)
        if wait_s <= 0 or self.error is None:
            return
        raise type(self.error)(
            f"{self.error} It was not asked again; the next try is in {math.ceil(wait_s)} s.",
            fix=self.error.fix,
            jump=self.error.jump,
            retry_after_s=wait_s,
        )
