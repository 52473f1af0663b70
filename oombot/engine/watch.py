"""Following the kernel log of every host: one task a host, which reconnects for ever."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from oombot.engine.cards import Cards
from oombot.engine.context import Context
from oombot.engine.counting import Counting
from oombot.engine.follower import Follower
from oombot.engine.positions import Positions
from oombot.engine.readings import Readings
from oombot.engine.timing import Timing
from oombot.engine.unheard import Trouble, Unheard
from oombot.errors import HostUnreachableError
from oombot.following import UNCOUNTED, Position
from oombot.model import HostSnapshot

BEST = "journald"  # the source that others give way to, where it can be read


class Watch:
    """One follower for each host, for ever."""

    def __init__(
        self,
        context: Context,
        readings: Readings,
        cards: Cards,
        *,
        timing: Timing | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Take the shared parts; `chance` in [0, 1) spreads a fleet's next tries."""
        self._ctx, self._readings, self._cards, self._chance = context, readings, cards, chance
        self._timing = timing = timing or Timing()
        self._positions = Positions(context, timing)
        self._unheard = Unheard(context, timing)
        self._counting = Counting(context, readings, timing, chance=chance)
        self._doubtful: set[str] = set()  # hosts whose source is to be chosen anew
        self.hearing = asyncio.Event()  # set once the first host is followed live

    async def load(self) -> None:
        """Take up what the store knows, before the first host is followed."""
        await self._positions.load()
        await self._unheard.load()

    async def keep(self) -> None:
        """Store positions and tell of unheard hosts, for ever."""
        await asyncio.gather(self._positions.run(), self._unheard.run())

    async def run(self, host: str) -> None:
        """Follow one host; a host that can not be followed is tried again."""
        tries = 0
        while True:
            began, live = self._now_s(), asyncio.Event()
            trouble = Trouble(problem=f"The log command on {host} ended.")
            try:
                if await self._follow(host, live):
                    continue  # blind for a while: is its log to be read now?
                if not live.is_set():
                    self._doubtful.add(host)
            except asyncio.CancelledError:
                if _ended():
                    raise
                trouble = Trouble(
                    problem=f"What followed {host} was cancelled, not by oombot's end.", ours=True
                )
            except HostUnreachableError as error:
                trouble = Trouble.of(error)
            except Exception as error:
                trouble = Trouble.of(error)
                self._doubtful.add(host)
                if trouble.ours:
                    self._ctx.log(host=host).exception("watch_failed")
            healthy = live.is_set() and self._now_s() - began > self._timing.healthy
            tries = 0 if healthy else tries + 1
            wait = self._wait_s(tries, trouble, live=live.is_set())
            self._ctx.log(host=host).warning(
                "watch_interrupted", problem=trouble.problem, fix=trouble.fix, again_in_s=round(wait, 1)
            )
            self._unheard.lost(host, trouble)
            await asyncio.sleep(wait)

    def _wait_s(self, tries: int, trouble: Trouble, *, live: bool) -> float:
        """Full jitter: a switch that comes back is not met by a thousand logins at once.

        A host whose stream does not last is read over and over, each time from where it was read to.
        """
        timing = self._timing
        if trouble.retry_after_s is not None:
            return trouble.retry_after_s + self._chance() * timing.again_first
        most = min(timing.again_last, timing.again_first * 2.0 ** min(tries, 16))
        return self._chance() * (min(most, timing.polled_every) if live else most)

    async def _follow(self, host: str, live: asyncio.Event) -> bool:
        """Follow until the log command ends; true where there was no log to follow and the host was counted."""
        position = before = await self._positions.of(host)
        if position is None or position.detector != BEST or host in self._doubtful:
            position = await self._look(host, position)
        if position is None:
            return True
        follower = Follower(
            self._ctx,
            self._cards,
            self._positions,
            position,
            timing=self._timing,
            heard=lambda: self._heard(host, live),
            another=before is not None and before.detector != position.detector,
        )
        counting = asyncio.create_task(self._counting.follow(follower))
        try:
            await follower.follow(self._ctx.detectors[position.detector])
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
        return False

    async def _look(self, host: str, position: Position | None) -> Position | None:
        """Choose the source by a reading; a host seen for the first time is baselined. None: it was counted, blind."""
        snapshot = await self._readings.now(host)
        log = snapshot.kernel_log
        if position is None:
            position = Position(
                host=host, detector="", cursor=None, baselined_s=_host_time(snapshot), last_seen_s=None
            )
            await self._positions.save(position)  # from here on, nothing is history
            self._counting.first(host, snapshot)
        if log.source is None:
            problem = f"The kernel log of {host} can not be read: {log.problem}."
            kind = "blind" if snapshot.oom_kill_count is not None else UNCOUNTED
            self._unheard.lost(host, Trouble(problem=problem, fix=log.fix, kind=kind, blind=True))
            await self._counting.blind(host, fix=log.fix)
            await self._ctx.hosts.renew(host)  # a group that mends it counts from a login on
            return None
        self._doubtful.discard(host)
        if position.detector != log.source:
            # another source has cursors of its own; kills already stored are recognised by the store
            position = replace(position, detector=log.source, cursor=None)
        return position

    def _heard(self, host: str, live: asyncio.Event) -> None:
        live.set()
        self._unheard.heard(host)
        self.hearing.set()

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


def _ended() -> bool:
    """Whether this task itself is to end; a cancelled part of it, in a library perhaps, ends no watch."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _host_time(snapshot: HostSnapshot) -> float:
    return snapshot.taken_s if snapshot.now_s is None else snapshot.now_s
