"""Following the kernel log of every host: each kill is stored, with its card and the log position, at once."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from oombot.detectors.shape import Detector
from oombot.engine.cards import Cards
from oombot.engine.context import Context
from oombot.engine.drafts import incident_key
from oombot.engine.readings import Readings
from oombot.errors import CommandFailedError, CommandTimeoutError, OombotError
from oombot.following import NewKill, Position, StormRule
from oombot.model import Draft, Entry, Gap, HostSnapshot, Incident, Json, Live, OomKill
from oombot.oom_report import OomReportParser

SAVE_EVERY_S = 30.0
REPORT_S = 30.0  # a report that began this long ago is over
HISTORY_WITHIN_S = 1800.0  # the longest that reading what a log already holds may take
ROUNDING_S = 2.0  # clocks are read in whole seconds
QUIET_S = 15.0  # a report that goes no further is closed after this long
AGAIN_FIRST_S, AGAIN_LAST_S = 1.0, 60.0
UNHEARD_AFTER_S = 120.0  # a host that can not be followed for this long is said so in its channel
CLOCKS_DIFFER_S = 600.0  # the most that two clocks, or a time derived from seconds since boot, may be apart

Heard = Callable[[str], Awaitable[None]]


class Watch:
    """One follower for each host, for ever."""

    def __init__(self, context: Context, readings: Readings, cards: Cards) -> None:
        """Take the shared parts."""
        self._ctx, self._readings, self._cards = context, readings, cards
        self.hearing = asyncio.Event()  # set once the first host is followed live
        self._live_s: dict[str, float] = {}  # when a host was last known to be followed live
        self._said: dict[str, str] = {}  # the message that says a host is unheard

    async def run(self, host: str) -> None:
        """Follow one host; a host that can not be followed is tried again, and its channel is told."""
        wait, self._live_s[host] = AGAIN_FIRST_S, self._ctx.clock()
        while True:
            began = self._ctx.clock()
            problem, fix, kind = "the log command ended", "", "ended"
            try:
                await self._follow(host)
            except OombotError as error:
                problem, fix, kind = str(error), error.fix, type(error).__name__
            except Exception as error:
                self._ctx.log(host=host).exception("watch_failed")
                problem, kind = (
                    f"oombot failed ({type(error).__name__}); its log says more",
                    type(error).__name__,
                )
            now = self._ctx.clock()
            if self._live_s[host] > began:
                wait, self._live_s[host] = AGAIN_FIRST_S, now
            self._ctx.log(host=host).warning("watch_interrupted", problem=problem, fix=fix, again_in_s=wait)
            if now - self._live_s[host] > UNHEARD_AFTER_S:
                await self._say_unheard(host, problem, fix, kind)
            await asyncio.sleep(wait)
            wait = min(wait * 2, AGAIN_LAST_S)

    async def _say_unheard(self, host: str, problem: str, fix: str, kind: str) -> None:
        """Once a day, host and kind of problem: silence would claim that nothing is killed there."""
        self._said[host] = f"unheard:{host}:{int(self._ctx.clock() // 86400)}:{kind}"
        known = await self._quietly(self._ctx.store.message(self._said[host]))
        if known is None:
            text = f"{host} is not watched: {problem} OOM kills there go unseen until this is mended."
            await self._say(host, self._ctx.views.notice(text, fix=fix))

    async def _heard(self, host: str) -> None:
        """A host is followed live; where the opposite was said, that message is edited."""
        self._live_s[host] = self._ctx.clock()
        self.hearing.set()
        if host in self._said:
            text = f"{host} is watched again. What its log kept of the time in between is told."
            await self._say(host, self._ctx.views.notice(text))
            del self._said[host]

    async def _say(self, host: str, view: Json) -> None:
        channel = self._ctx.settings.channel(host)
        await self._quietly(
            self._ctx.store.put_messages([Draft(key=self._said[host], channel=channel, view=view)])
        )
        self._ctx.wake.set()

    async def _quietly(self, work: Awaitable[Any]) -> Any:
        """A follower outlives a store that fails."""
        try:
            return await work
        except Exception:
            self._ctx.log().exception("store_failed")
            return None

    async def _follow(self, host: str) -> None:
        snapshot = await self._readings.now(host)
        log = snapshot.kernel_log
        if log.source is None:
            raise OombotError(f"The kernel log of {host} can not be read: {log.problem}.", fix=log.fix)
        position = await self._ctx.store.position(host)
        if position is None:
            position = Position(
                host=host,
                detector=log.source,
                cursor=None,
                baselined_s=_host_time(snapshot),
                last_seen_s=None,
            )
            await self._ctx.store.save_position(position)  # from here on, nothing is history
        elif position.detector != log.source:
            # another source has cursors of its own; kills already stored are recognised by the store
            position = replace(position, detector=log.source, cursor=None)
        run = _Run(self._ctx, self._cards, position, snapshot, self._heard)
        await run.follow(self._ctx.detectors[log.source])


class _Run:
    """One run of the log command, from the stored position until it ends."""

    def __init__(
        self,
        context: Context,
        cards: Cards,
        position: Position,
        snapshot: HostSnapshot,
        heard: Heard,
    ) -> None:
        self._ctx, self._cards, self._heard = context, cards, heard
        self._position = replace(position, problem="")
        self._snapshot = snapshot
        self._parser = OomReportParser()
        self._began = position
        self._live = position.cursor is not None  # a resumed log holds no history
        self._cursor = position.cursor  # how far whole reports have been read
        self._live_once = False
        self._began_s = self._item_s = self._now_s()
        self._newest_s: float | None = None  # the kernel's time of the last entry
        self._baselined = self._gaps = 0
        self._saved_s = context.clock()
        self._log = context.log(host=position.host)

    async def follow(self, detector: Detector) -> None:
        reader = detector.reader(self._began.cursor)
        command = detector.follow(self._began.cursor)
        async with aclosing(self._lines(self._ctx.hosts.follow(self._position.host, command))) as lines:
            async for line in lines:
                if line is None and not self._live_once:
                    self._check_history()
                for item in reader.feed(line) if line is not None else ():
                    self._item_s = self._now_s()
                    await self._take(item)
                await self._when_quiet()
        await self._record(self._parser.close())

    async def _when_quiet(self) -> None:
        """A report that goes no further is closed; now and then the position is saved."""
        if not self._parser.idle and self._now_s() - self._item_s > QUIET_S:
            await self._record(self._parser.close())
        await self._save_position()

    def _check_history(self) -> None:
        """A log command that hangs before it has caught up is no watch."""
        if self._now_s() - self._began_s > HISTORY_WITHIN_S:
            raise CommandTimeoutError(
                f"The log command on {self._position.host} has not come to the present within {HISTORY_WITHIN_S:.0f} s."
            )

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    async def _lines(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes | None, None]:
        """The stream's lines; None when it has been quiet for a while."""
        iterator = aiter(stream)
        pending: asyncio.Future[bytes] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(anext(iterator))
                done, _ = await asyncio.wait({pending}, timeout=QUIET_S)
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
            self._newest_s = item.time_s
            kills = self._parser.feed(item)
            if self._parser.idle and item.cursor is not None:
                self._cursor = item.cursor  # stored in the same transaction as the kills before it
            await self._record(kills)

    async def _gap(self, gap: Gap) -> None:
        if gap.unreadable:
            raise CommandFailedError(
                f"The kernel log of {self._position.host} can not be read: {gap.reason}."
            )
        self._log.warning("log_gap", reason=gap.reason, since_s=gap.since_s)
        self._gaps += 1
        where = self._cursor or f"{self._began_s} {self._gaps}"
        name = _short(f"{gap.reason}\n{where}\n{self._snapshot.boot_id}")
        await self._cards.gap(self._position.host, gap, name=name)

    async def _caught_up(self) -> None:
        recent = self._newest_s is not None and _host_time(self._snapshot) - self._newest_s < REPORT_S
        if not recent:  # else a report is perhaps just being written
            await self._record(self._parser.close())
        first = self._began.cursor is None
        self._live = self._live_once = True
        self._position = replace(self._position, last_seen_s=self._ctx.clock())
        await self._ctx.store.save_position(self._stored())
        self._saved_s = self._ctx.clock()
        await self._heard(self._position.host)
        self._log.info(
            "watching", source=self._position.detector, first_contact=first, kills_in_history=self._baselined
        )

    async def _save_position(self) -> None:
        """Every now and then: the cursor moves on only between reports, so that none is cut in two."""
        if not self._live or self._ctx.clock() - self._saved_s < SAVE_EVERY_S:
            return
        self._position = replace(self._position, last_seen_s=self._ctx.clock())
        await self._ctx.store.save_position(self._stored())
        self._saved_s = self._ctx.clock()

    def _stored(self) -> Position:
        """The position to resume from; before this source has caught up once, that is its beginning."""
        return replace(self._position, cursor=self._cursor if self._live else None)

    async def _record(self, kills: list[OomKill]) -> None:
        if not kills:
            return
        rows = [await self._row(kill) for kill in kills]
        fresh = await self._ctx.store.record_kills(
            self._stored(), rows, digest=self._cards.digest, rule=StormRule()
        )
        self._ctx.wake.set()
        for incident in fresh:
            if incident.history:
                self._baselined += 1
                continue
            self._log.info("oom_kill", incident=incident.id, pid=incident.kill.pid, comm=incident.kill.comm)
            if incident.message_key == incident_key(incident.id):
                self._cards.enrich(incident)

    async def _row(self, kill: OomKill) -> NewKill:
        host = self._position.host
        incident = Incident(
            id=self._ctx.new_id(),
            host=host,
            kill=kill,
            channel=self._ctx.settings.channel(host),
            seen_s=self._ctx.clock(),
            history=self._is_history(kill),
        )
        if incident.history:
            return incident, None
        return incident, await self._cards.card(incident, replayed=self._snapshot.replayed)

    def _is_history(self, kill: OomKill) -> bool:
        """What a source that is read for the first time holds from before the host was looked at, or followed last."""
        if self._live:
            return False
        since = self._began.baselined_s or 0.0
        if self._began.last_seen_s is not None:  # another source than before: the kills since then are news
            since = max(since, self._began.last_seen_s + _ahead(self._snapshot) - CLOCKS_DIFFER_S)
        if kill.time_s is None:
            return self._began.last_seen_s is None
        return kill.time_s < since - ROUNDING_S


def _host_time(snapshot: HostSnapshot) -> float:
    return snapshot.taken_s if snapshot.now_s is None else snapshot.now_s


def _ahead(snapshot: HostSnapshot) -> float:
    """How much the host's clock is ahead of ours."""
    return _host_time(snapshot) - snapshot.taken_s


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
