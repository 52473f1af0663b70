"""One run of a host's log command: each kill is stored at once, with the message that names it and the position."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

from oombot import helper_call
from oombot.detectors.shape import Detector
from oombot.engine.cards import Cards
from oombot.engine.context import Context
from oombot.engine.drafts import incident_key
from oombot.engine.positions import Positions
from oombot.engine.timing import Timing
from oombot.errors import CommandFailedError, CommandTimeoutError
from oombot.following import STORM, NewKill, Position
from oombot.framing.clock import HostClock, header
from oombot.model import Entry, Gap, Incident, Live, OomKill
from oombot.oom_report import OomReportParser

ROUNDING_S = 2.0  # clocks are read in whole seconds
CLOCKS_DIFFER_S = 600.0  # the most that two clocks, or a time derived from seconds since boot, may be apart
BOOTING_S = 60.0
REPLAYED = b"@@replayed"


class Follower:
    """One run of the log command, from the stored position until it ends."""

    def __init__(
        self,
        context: Context,
        cards: Cards,
        positions: Positions,
        position: Position,
        *,
        timing: Timing,
        heard: Callable[[], None],
        another: bool = False,
    ) -> None:
        """Begin at a position; `heard` is told when the log has caught up. `another`: not the log read until now."""
        self._ctx, self._cards, self._positions, self._timing = context, cards, positions, timing
        self._heard, self._position, self._began = heard, position, position
        self._parser = OomReportParser()
        self._clock = HostClock()  # the host's own, as the log command tells it first
        self._replayed, self._another = False, another
        self._resumed = position.cursor is not None  # a resumed log holds no history
        self._cursor = position.cursor  # how far whole reports have been read
        self.live = asyncio.Event()
        self._began_s = self._item_s = self._clock_s = self._now_s()  # _clock_s: when the host told its time
        self._newest_s: float | None = None  # the kernel's time of the last entry
        self._outdone_s: float | None = (
            None  # since when the log is known to hold what this stream has not shown
        )
        self._baselined = self._gaps = 0
        self.news = 0  # kills that are no history
        self._log = context.log(host=position.host)

    @property
    def host(self) -> str:
        """Whose log this is."""
        return self._position.host

    @property
    def booted_s(self) -> float | None:
        """When the host was started, by its own clock."""
        return self._clock.booted_s

    async def follow(self, detector: Detector) -> None:
        """Read until the log command ends."""
        cursor = self._began.cursor
        reader = detector.reader(cursor)
        command = helper_call.follow(self._ctx.settings.helpers_of(self.host), detector, cursor)
        async with aclosing(self._lines(self._ctx.hosts.follow(self.host, command))) as lines:
            async for line in lines:
                if line is None:
                    self._check_stream()
                    await self._when_quiet(silent=True)
                    continue
                self._introduce(line)
                for item in reader.feed(line):
                    self._item_s = self._now_s()
                    await self._take(item)
                await self._when_quiet()
        await self._record(self._parser.close())

    async def found(self, kills: list[OomKill]) -> None:
        """Store what a reading of the whole log has shown besides; what was before the first look is history."""
        if await self._record(kills, stray=True):
            self._outdone_s = self._now_s()

    def _introduce(self, line: bytes) -> None:
        """The log command says first which boot and what time it is there."""
        if not self.live.is_set() and line.startswith(b"@@"):
            self._replayed = self._replayed or line == REPLAYED
            if self._clock.now_s is None:
                self._clock, self._clock_s = header(line) or self._clock, self._now_s()

    async def _when_quiet(self, *, silent: bool = False) -> None:
        """A report that goes no further is closed; the position moves on between reports only.

        A silent link may be dead already: the host is known to have been there only before it would be found out.
        """
        if not self._parser.idle and self._now_s() - self._item_s > self._timing.quiet:
            await self._record(self._parser.close())
        if self.live.is_set():
            seen_s = self._ctx.clock() - (self._timing.dead_after if silent else 0.0)
            seen_s = max(seen_s, self._position.last_seen_s or seen_s)
            self._position = replace(self._position, last_seen_s=seen_s)
            self._positions.moved(self._stored())

    def _check_stream(self) -> None:
        """A log command that hangs before it has caught up is no watch; nor is one that has gone deaf."""
        if not self.live.is_set() and self._now_s() - self._began_s > self._timing.history_within:
            raise CommandTimeoutError(
                f"The log command on {self.host} has not come to the present within "
                f"{self._timing.history_within:.0f} s."
            )
        if self._outdone_s is not None and self._now_s() - self._outdone_s > self._timing.quiet:
            raise CommandFailedError(
                f"The log command on {self.host} did not show a kill that the log holds; it is started anew."
            )

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    def _host_now_s(self) -> float:
        """The time on the host."""
        if self._clock.now_s is None:
            return self._ctx.clock()
        return self._clock.now_s + self._now_s() - self._clock_s

    async def _lines(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes | None, None]:
        """The stream's lines; None when it has been quiet for a while."""
        iterator = aiter(stream)
        pending: asyncio.Future[bytes] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(anext(iterator))
                done, _ = await asyncio.wait({pending}, timeout=self._timing.quiet)
                if not done:
                    yield None
                    continue
                future, pending = pending, None
                try:
                    line = future.result()
                except StopAsyncIteration:
                    return
                yield line
        finally:
            if pending is not None:
                pending.cancel()
                await asyncio.gather(pending, return_exceptions=True)
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def _take(self, item: Entry | Gap | Live) -> None:
        if isinstance(item, Live):
            await self._caught_up()
        elif isinstance(item, Gap):
            await self._gap(item)
        else:
            await self._check_beginning(item)
            self._newest_s, self._outdone_s = item.time_s, None
            kills = self._parser.feed(item)
            cursor = item.cursor if self._parser.idle and item.cursor is not None else self._cursor
            # stored in the same transaction as the kills before it, and by no other
            await self._record(kills + self._parser.repeats(), cursor=cursor)
            self._cursor = cursor

    async def _check_beginning(self, first: Entry) -> None:
        """Another log than before may begin later than the host was last heard or looked at.

        The journal is asked for thirty days, in which a quiet kernel may write nothing: only a boot is a beginning.
        """
        if self._resumed or not self._another or first.time_s is None:
            return
        self._another = False
        if self._position.detector == "journald" and not (first.mono_s or 0.0) < BOOTING_S:
            return
        since_s = self._seen_s() or self._began.baselined_s
        if since_s is not None and first.time_s - since_s > CLOCKS_DIFFER_S:
            reason = "another log of the host is read now, and it begins later"
            await self._gap(Gap(reason=reason, since_s=since_s, until_s=first.time_s))

    async def _gap(self, gap: Gap) -> None:
        """Tell what was not seen, from when to when; what was followed to its end is no gap."""
        if gap.unreadable:
            raise CommandFailedError(f"The kernel log of {self.host} can not be read: {gap.reason}.")
        seen_s = self._seen_s()
        if gap.kept_s is not None and seen_s is not None and gap.kept_s + CLOCKS_DIFFER_S < seen_s:
            return
        since_s = gap.since_s if self._newest_s is None else self._newest_s
        since_s = seen_s if since_s is None else max(since_s, seen_s or 0.0)
        until_s = self._host_now_s() if gap.until_s is None else gap.until_s
        if since_s is not None and since_s > until_s:
            since_s = None  # a clock was set
        self._log.warning("log_gap", reason=gap.reason, since_s=since_s, until_s=until_s)
        self._gaps += 1
        where = self._cursor or f"{self._began_s} {self._gaps}"
        name = _short(f"{gap.reason}\n{where}\n{self._clock.boot_id}")
        await self._cards.gap(self.host, replace(gap, since_s=since_s, until_s=until_s), name=name)

    def _seen_s(self) -> float | None:
        """Until when the host was followed before this run, by its own clock."""
        last = self._began.last_seen_s
        return None if last is None else last + self._ahead_s()

    def _ahead_s(self) -> float:
        """How much the host's clock is ahead of ours."""
        return self._host_now_s() - self._ctx.clock()

    async def _caught_up(self) -> None:
        recent = self._newest_s is not None and self._host_now_s() - self._newest_s < self._timing.report
        if not recent:  # else a report is perhaps just being written
            await self._record(self._parser.close())
        first = self._began.cursor is None
        self._resumed = True
        self._position = replace(self._position, last_seen_s=self._ctx.clock())
        if first:
            await self._positions.save(self._stored())
        else:
            self._positions.moved(self._stored())
        self.live.set()
        self._heard()
        self._log.info(
            "watching", source=self._position.detector, first_contact=first, kills_in_history=self._baselined
        )

    def _stored(self, cursor: str | None = None) -> Position:
        """The position to resume from; before this source has caught up once, that is its beginning."""
        return replace(self._position, cursor=(cursor or self._cursor) if self._resumed else None)

    async def _record(
        self, kills: list[OomKill], *, stray: bool = False, cursor: str | None = None
    ) -> list[Incident]:
        """Store kills with the position; return those that are news."""
        if not kills:
            return []
        rows = [await self._row(kill, stray=stray) for kill in kills]
        position = self._stored(cursor)
        self._positions.storing(self.host)
        fresh = await self._ctx.store.record_kills(position, rows, digest=self._cards.digest, rule=STORM)
        self._positions.stored(position)
        self._ctx.wake.set()
        news = [incident for incident in fresh if not incident.history]
        self._baselined += len(fresh) - len(news)
        self.news += len(news)
        for incident in news:
            self._log.info("oom_kill", incident=incident.id, pid=incident.kill.pid, comm=incident.kill.comm)
            if incident.message_key == incident_key(incident.id):
                self._cards.enrich(incident)
        return news

    async def _row(self, kill: OomKill, *, stray: bool) -> NewKill:
        incident = Incident(
            id=self._ctx.new_id(),
            host=self.host,
            kill=kill,
            channel=self._ctx.settings.channel(self.host),
            seen_s=self._ctx.clock(),
            history=self._is_history(kill, stray=stray),
        )
        if incident.history:
            return incident, None
        return incident, await self._cards.card(incident, replayed=self._replayed)

    def _is_history(self, kill: OomKill, *, stray: bool) -> bool:
        """What a source that is read for the first time holds from before the host was looked at, or followed last."""
        baselined_s = self._began.baselined_s or 0.0
        if stray:
            return kill.time_s is not None and kill.time_s < baselined_s - ROUNDING_S
        if self._resumed:
            return False
        since = baselined_s
        if self._began.last_seen_s is not None:  # another source than before: the kills since then are news
            since = max(since, self._began.last_seen_s + self._ahead_s() - CLOCKS_DIFFER_S)
        if kill.time_s is None:
            return self._began.last_seen_s is None
        return kill.time_s < since - ROUNDING_S


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
