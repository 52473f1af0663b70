"""How many logins are under way at once: of the whole bot, through one jump host, and in one second."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from oombot.adapters.breaker import Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What SSH may use, and for how long.

    More logins at once are hardly faster and make everything else wait: with 128 of them the event loop is late by
    50 ms, with 16 by 10 ms.
    """

    handshakes: int = 16
    through_a_jump: int = 8
    logins_a_second: float = 100.0
    logins_at_once: int = 200
    connect_s: float = 15.0  # for a login, from the first packet on
    silent_s: float = 1.0  # a host that takes longer to greet, frozen ones never do, makes room for others
    sessions: int = 6  # at once on one host; sshd's MaxSessions is 10 by default, the rest is left to people
    turn_s: float = 60.0  # to wait for the bot's own commands on a host: longer than any reading may take
    session_s: float = 20.0  # for a connected host to open a session
    full_s: float = 2.0  # to wait for a session to end where the host allows no more of them


class Gate:
    """Lets logins through."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """Nobody is inside."""
        self._limits = limits
        self._places = asyncio.Semaphore(limits.handshakes)
        self._jumps: dict[str, asyncio.Semaphore] = {}
        self._bucket = Bucket(a_second=limits.logins_a_second, burst=limits.logins_at_once, clock=clock)

    @contextlib.asynccontextmanager
    async def entered(self, jump: str | None, greeted: Callable[[], bool]) -> AsyncIterator[None]:
        """Wait for a place and hold it; where `greeted` is not true soon the place is given to somebody else."""
        async with contextlib.AsyncExitStack() as stack:
            if jump is not None:
                limit = self._jumps.setdefault(jump, asyncio.Semaphore(self._limits.through_a_jump))
                await stack.enter_async_context(limit)
            await self._places.acquire()
            place = _Place(self._places)
            stack.callback(place.leave)
            await asyncio.sleep(self._bucket.delay_s())
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._limits.silent_s, place.leave_unless, greeted)
            stack.callback(timer.cancel)
            yield


class _Place:
    """One place of a semaphore, given back once."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places

    def leave_unless(self, greeted: Callable[[], bool]) -> None:
        if not greeted():
            self.leave()

    def leave(self) -> None:
        if self._places is not None:
            self._places.release()
            self._places = None
