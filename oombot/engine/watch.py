"""Following the kernel log of every host: each kill is stored, with its card and the log position, at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from oombot.detectors.shape import Detector
from oombot.engine.cards import Cards
from oombot.engine.context import Context
from oombot.engine.readings import Readings
from oombot.errors import HostError, OombotError
from oombot.model import Draft, Entry, Gap, HostSnapshot, Incident, Live, OomKill, Position
from oombot.oom_report import OomReportParser

SAVE_EVERY_S = 30.0
QUIET_S = 3.0  # a report that goes no further is closed after this long
AGAIN_FIRST_S, AGAIN_LAST_S = 1.0, 60.0


class Watch:
    """One follower for each host, for ever."""

    def __init__(self, context: Context, readings: Readings, cards: Cards) -> None:
        """Take the shared parts."""
        self._ctx, self._readings, self._cards = context, readings, cards

    async def run(self, host: str) -> None:
        """Follow one host; a host that can not be followed is tried again, and its reason is kept."""
        wait = AGAIN_FIRST_S
        while True:
            began = self._ctx.clock()
            try:
                await self._follow(host)
                problem = "the log command ended"
            except HostError as error:
                problem = str(error)
                await self._remember_problem(host, problem)
            except Exception as error:
                problem = repr(error)
            wait = AGAIN_FIRST_S if self._ctx.clock() - began > AGAIN_LAST_S else min(wait * 2, AGAIN_LAST_S)
            self._ctx.log(host=host).warning("watch_interrupted", problem=problem, again_in_s=wait)
            await asyncio.sleep(wait)

    async def _remember_problem(self, host: str, problem: str) -> None:
        position = await self._ctx.store.position(host)
        if position is not None and position.problem != problem:
            await self._ctx.store.save_position(replace(position, problem=problem))

    async def _follow(self, host: str) -> None:
        snapshot = await self._readings.now(host)
        log = snapshot.kernel_log
        if log.source is None:
            raise OombotError(f"the kernel log of {host} can not be read: {log.problem}", fix=log.fix)
        position = await self._ctx.store.position(host)
        if position is None or position.detector != log.source:
            # another source has cursors of its own; kills already stored are recognised by the store
            position = Position(
                host=host,
                detector=log.source,
                cursor=None,
                baselined_s=position.baselined_s if position else None,
                last_seen_s=position.last_seen_s if position else None,
            )
        await _Run(self._ctx, self._cards, position, snapshot).follow(self._ctx.detectors[log.source])


class _Run:
    """One run of the log command, from the stored position until it ends."""

    def __init__(self, context: Context, cards: Cards, position: Position, snapshot: HostSnapshot) -> None:
        self._ctx, self._cards = context, cards
        self._position = replace(position, problem="")
        self._snapshot = snapshot
        self._parser = OomReportParser()
        self._resume_s = position.last_seen_s  # kills before this were seen by an earlier run
        self._resumed = position.cursor is not None
        self._live = False
        self._baselined = 0
        self._saved_s = context.clock()
        self._log = context.log(host=position.host)

    async def follow(self, detector: Detector) -> None:
        reader = detector.reader(self._position.cursor)
        command = detector.follow(self._position.cursor)
        async for line in self._lines(self._ctx.hosts.follow(self._position.host, command)):
            if line is None:
                await self._record(self._parser.close(), None)
                self._parser = OomReportParser()
                continue
            for item in reader.feed(line):
                await self._take(item)
        await self._record(self._parser.close(), None)

    async def _lines(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes | None]:
        """The stream's lines; None when it is quiet in the middle of a report, and on the hour of saving."""
        iterator = aiter(stream)
        pending: asyncio.Future[bytes] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(anext(iterator))
                done, _ = await asyncio.wait({pending}, timeout=QUIET_S)
                if not done:
                    await self._save_position()
                    if not self._parser.idle:
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
            self._log.warning("log_gap", reason=item.reason, since_s=item.since_s)
            await self._cards.gap(self._position.host, item)
        else:
            await self._record(self._parser.feed(item), item.cursor if self._parser.idle else None)
            if self._parser.idle and self._ctx.clock() - self._saved_s > SAVE_EVERY_S:
                await self._save_position()

    async def _caught_up(self) -> None:
        await self._record(self._parser.close(), None)
        self._parser = OomReportParser()
        first = self._position.baselined_s is None
        now = self._ctx.clock()
        self._position = replace(self._position, baselined_s=self._position.baselined_s or now)
        self._live = True
        await self._save_position()
        self._log.info(
            "watching", source=self._position.detector, first_contact=first, kills_in_history=self._baselined
        )

    async def _save_position(self) -> None:
        """The host is there: its cursor moves on only between reports, so that none is cut in two."""
        if not self._live:
            return
        self._position = replace(self._position, last_seen_s=self._ctx.clock())
        await self._ctx.store.save_position(self._position)
        self._saved_s = self._ctx.clock()

    async def _record(self, kills: list[OomKill], cursor: str | None) -> None:
        if cursor is not None:
            self._position = replace(self._position, cursor=cursor)
        if not kills:
            return
        rows: list[tuple[Incident, Draft | None]] = [await self._row(kill) for kill in kills]
        position = replace(self._position, last_seen_s=self._ctx.clock() if self._live else self._resume_s)
        fresh = await self._ctx.store.record_kills(position, rows)
        self._ctx.wake.set()
        for incident in fresh:
            if incident.history:
                self._baselined += 1
                continue
            self._log.info("oom_kill", incident=incident.id, pid=incident.kill.pid, comm=incident.kill.comm)
            self._ctx.spawn(self._cards.enrich(incident))

    async def _row(self, kill: OomKill) -> tuple[Incident, Draft | None]:
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
        return incident, await self._cards.draft(incident, snapshot=None, replayed=self._snapshot.replayed)

    def _is_history(self, kill: OomKill) -> bool:
        """What the log held before the host was first seen; with another source, what the earlier one had seen."""
        if self._position.baselined_s is None:
            return True
        if self._live or self._resumed:
            return False
        return kill.time_s is not None and self._resume_s is not None and kill.time_s < self._resume_s
