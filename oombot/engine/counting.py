"""The kernel's own count of kills against those that logs have shown: what is missing is told, never passed over."""

import asyncio
import random
from collections.abc import Callable

from oombot import helper_call
from oombot.engine.context import Context
from oombot.engine.follower import Follower
from oombot.engine.readings import Readings
from oombot.engine.timing import Timing
from oombot.errors import HostError
from oombot.facts import counter
from oombot.following import Reckoning
from oombot.model import Draft, HostSnapshot

COUNT_WITHIN_S = 10.0


class Counting:
    """Compares, host by host and boot by boot.

    Since Linux 4.13 a kill is counted just before it is logged, so a log that was read after the counter shows all of
    it, sooner or later. `memory.oom.group` counts and logs its first victim twice: log lines are compared, not victims.
    """

    def __init__(
        self,
        context: Context,
        readings: Readings,
        timing: Timing,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Take the shared parts; `chance` spreads a fleet's counts over time."""
        self._ctx, self._readings, self._timing, self._chance = context, readings, timing, chance
        self._agreed_s: dict[str, float] = {}  # when counter and log were last compared and agreed
        self._asked_s: dict[str, float] = {}  # when a host was last asked, on the loop's clock
        self._first: dict[
            str, counter.Counter
        ] = {}  # what hosts had counted before their logs were read at all

    def first(self, host: str, snapshot: HostSnapshot) -> None:
        """Note what a host had counted when it was first looked at: its log is compared with that once it is read."""
        if snapshot.boot_id and snapshot.uptime_s is not None and snapshot.oom_kill_count is not None:
            self._first[host] = counter.Counter(
                boot_id=snapshot.boot_id, uptime_s=snapshot.uptime_s, oom_kill=snapshot.oom_kill_count
            )

    async def follow(self, follower: Follower) -> None:
        """Count a host that is followed: when its log was caught up, and every now and then, for ever."""
        await follower.live.wait()
        await self._settle_first(follower)
        wait = self._first_wait_s(follower.host)
        while True:
            await asyncio.sleep(wait)
            self._asked_s[follower.host] = asyncio.get_running_loop().time()
            wait = self._timing.count_every * (0.9 + 0.2 * self._chance())
            try:
                await self.check(follower)
            except HostError as error:
                self._ctx.log(host=follower.host).info("not_counted", error=str(error))
            except Exception:
                self._ctx.log(host=follower.host).exception("count_failed")

    async def _settle_first(self, follower: Follower) -> None:
        first = self._first.pop(follower.host, None)
        if first is None or follower.news:  # that count is of before a kill that the log shows
            return
        try:
            await self._missing(follower.host, first, follower.booted_s)
        except Exception:
            self._ctx.log(host=follower.host).exception("count_failed")

    def _first_wait_s(self, host: str) -> float:
        """A fleet that is followed for the first time is counted over a minute; a host that comes back, soon.

        One whose streams never last until it is its turn is counted at once.
        """
        asked_s = self._asked_s.setdefault(host, float("-inf"))
        if asked_s == float("-inf"):
            self._asked_s[host] = asyncio.get_running_loop().time()
            return self._timing.count_first + self._chance() * self._timing.count_every / 5
        overdue = asyncio.get_running_loop().time() - asked_s > self._timing.count_every
        return 0.0 if overdue else self._timing.count_first

    async def check(self, follower: Follower) -> None:
        """Compare once: a difference is waited out, then the whole log is read again, then it is told."""
        host, booted_s = follower.host, follower.booted_s
        counted = await self._count(host)
        if counted is None or not await self._missing(host, counted, booted_s):
            return
        await asyncio.sleep(self._timing.settle)
        if not await self._missing(host, counted, booted_s):
            return
        self._ctx.log(host=host).warning("kills_not_shown", counter=counted.oom_kill)
        await follower.found(self._readings.prints(await self._readings.now(host)))
        if await self._missing(host, counted, booted_s):
            await self._tell(host, counted, booted_s, blind=False)

    async def blind(self, host: str, *, fix: str) -> None:
        """Count a host whose log can not be read, for a while: who was killed is not known, that somebody was is."""
        ends = asyncio.get_running_loop().time() + self._timing.blind_for
        while asyncio.get_running_loop().time() < ends:
            counted = await self._count(host)
            if counted is not None and await self._missing(host, counted, None):
                await self._tell(host, counted, None, blind=True, fix=fix)
            await asyncio.sleep(self._timing.blind_every)

    async def _count(self, host: str) -> counter.Counter | None:
        command = helper_call.count(self._ctx.settings.helpers_of(host))
        result = await self._ctx.hosts.run(host, command, timeout_s=COUNT_WITHIN_S)
        counted = counter.parse(result.stdout)
        return counted if counted is not None and counted.oom_kill is not None else None

    async def _missing(self, host: str, counted: counter.Counter, booted_s: float | None) -> int:
        """How many kills were counted, not shown and not told yet; where there are none, that is settled.

        The first count of a host settles what its log had lost before. A boot that begins later begins with none.
        """
        store = self._ctx.store
        shown = await store.shown(host, counted.boot_id, booted_s)
        unseen = max(0, (counted.oom_kill or 0) - shown)
        known = await store.reckoning(host)
        base = unseen if known is None else known.unseen if known.boot_id == counted.boot_id else 0
        if unseen > base:
            return unseen - base
        if known is None or (known.boot_id, known.unseen) != (counted.boot_id, unseen):
            await store.save_reckoning(self._reckoning(host, counted, unseen))
        self._agreed_s[host] = self._ctx.clock()
        return 0

    async def _tell(
        self, host: str, counted: counter.Counter, booted_s: float | None, *, blind: bool, fix: str = ""
    ) -> None:
        store, now, total = self._ctx.store, self._ctx.clock(), counted.oom_kill or 0
        shown = await store.shown(host, counted.boot_id, booted_s)
        known = await store.reckoning(host)
        base = known.unseen if known is not None and known.boot_id == counted.boot_id else 0
        if total - shown <= base:
            return  # the log has shown it meanwhile
        since_s = self._agreed_s.get(host) or (known.at_s if known is not None else None)
        view = self._ctx.views.counter(
            host,
            counter=total,
            shown=shown,
            before=base,
            blind=blind,
            since_s=since_s,
            until_s=now,
            fix=fix,
        )
        channel = self._ctx.settings.channel(host)
        draft = Draft(key=f"counter:{host}:{counted.boot_id}:{total}", channel=channel, view=view)
        await store.save_reckoning(self._reckoning(host, counted, total - shown), [draft])
        self._agreed_s[host] = now
        self._ctx.log(host=host).warning("kills_unknown", counter=total, shown=shown, before=base)
        self._ctx.wake.set()

    def _reckoning(self, host: str, counted: counter.Counter, unseen: int) -> Reckoning:
        return Reckoning(host=host, boot_id=counted.boot_id, unseen=unseen, at_s=self._ctx.clock())
