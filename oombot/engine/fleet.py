"""Many hosts asked at once: a ranked overview in one message that grows by edits, or data for the command line."""

import asyncio
import shlex
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from oombot import triage
from oombot.engine.answers import Answers
from oombot.engine.context import Context
from oombot.engine.readings import Readings
from oombot.errors import HostError, ViewError
from oombot.inventory.roster import Selection
from oombot.model import Draft
from oombot.triage.overview import Phase

PREFIX = "fleet:"  # of the message keys of overviews


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many hosts are asked at once, for how long, and how often the message is edited while they answer."""

    at_once: int = 64
    within_s: float = 90.0
    edit_s: float = 1.0
    slower: float = 1.3  # each wait against the one before: Slack takes about 50 edits a minute
    slowest_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What is asked of whom: a selection of hosts, kills of the last `span_s`."""

    selection: Selection
    span_s: float
    command: str  # what shows all of it on the command line


def survey_of(selection: Selection, since_s: float | None, default_s: float) -> Survey:
    """The survey that a question means; without a `since` it goes as far back as a reading does."""
    span_s = default_s if since_s is None else since_s
    since = "" if since_s is None else f" --since {since_s:.0f}s"
    command = f"oombot ask {shlex.quote(selection.pattern)}{since}"
    return Survey(selection=selection, span_s=span_s, command=command)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Board:
    """One message that shows a survey: where it stands, who asked, and since when."""

    survey: Survey
    key: str
    channel: str
    asker: str
    begun_s: float


class Fleet:
    """Asks many hosts, never more than `at_once` of them, whoever asks."""

    def __init__(
        self, context: Context, readings: Readings, answers: Answers, *, pace: Pace | None = None
    ) -> None:
        """Take the shared parts."""
        self._ctx, self._readings, self._answers = context, readings, answers
        self._pace = pace or Pace()
        self._gate = asyncio.Semaphore(self._pace.at_once)

    async def post(self, survey: Survey, channel: str, asker: str) -> str:
        """Put the overview into a channel and go on asking in the background; its message key."""
        key, now = f"{PREFIX}{self._ctx.new_id()}", self._ctx.clock()
        board = _Board(survey=survey, key=key, channel=channel, asker=asker, begun_s=now)
        await self._show(board, {}, "asking")
        self._ctx.spawn(self._grow(board))
        return key

    async def ask(self, survey: Survey) -> AsyncGenerator[triage.Seen, None]:
        """Yield every host of the survey once, as it answers; after the deadline the rest, as not answered."""
        since_s = self._ctx.clock() - survey.span_s
        answers: asyncio.Queue[triage.Seen] = asyncio.Queue()
        waiting = dict.fromkeys(survey.selection.names)
        tasks = [asyncio.ensure_future(self._one(name, since_s, answers)) for name in waiting]
        deadline = asyncio.get_running_loop().time() + self._pace.within_s
        try:
            while waiting:
                try:
                    async with asyncio.timeout_at(deadline):
                        seen = await answers.get()
                except TimeoutError:
                    break
                del waiting[seen.host]
                yield seen
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for name in waiting:
            text = f"no answer within the {self._pace.within_s:.0f} s that the whole fleet gets"
            kills = await self._answers.kills(name, None)
            yield triage.unheard(
                name, text, kills, since_s=since_s, fix=f"ask it alone: /oom {name}", late=True
            )

    async def recover(self) -> None:
        """After a restart: overviews that were being asked for say that they were interrupted."""
        for message in await self._ctx.store.messages(PREFIX):
            mended = self._ctx.views.fleet_interrupted(message.view)
            if mended is not None:
                draft = Draft(key=message.key, channel=message.channel, view=mended)
                await self._ctx.store.put_messages([draft])
                self._ctx.wake.set()

    async def _one(self, name: str, since_s: float, answers: "asyncio.Queue[triage.Seen]") -> None:
        """Ask one host; whatever goes wrong is its answer."""
        async with self._gate:
            try:
                seen = await self._read(name, since_s)
            except Exception as error:
                self._ctx.log(host=name).exception("not_surveyed")
                text = f"oombot failed on its answer ({type(error).__name__}); its log says more"
                seen = triage.unheard(name, text, (), since_s=since_s)
        await answers.put(seen)

    async def _read(self, name: str, since_s: float) -> triage.Seen:
        try:
            snapshot = await self._readings.now(name, asked=True)
        except HostError as error:
            kills = await self._answers.kills(name, None)
            return triage.unheard(name, str(error), kills, since_s=since_s, fix=error.fix)
        return triage.observed(snapshot, await self._answers.kills(name, snapshot), since_s=since_s)

    async def _grow(self, board: _Board) -> None:
        """Edit the message as hosts answer, and a last time when all have, or the time is over."""
        seen: dict[str, triage.Seen] = {}
        editor = asyncio.ensure_future(self._edit(board, seen))
        try:
            async with aclosing(self.ask(board.survey)) as hosts:
                async for one in hosts:
                    seen[one.host] = one
        finally:
            editor.cancel()
            await asyncio.gather(editor, return_exceptions=True)
        await self._show(board, seen, "late" if any(one.late for one in seen.values()) else "done")

    async def _edit(self, board: _Board, seen: Mapping[str, triage.Seen]) -> None:
        """Show what is known so far, about once a second at first, then more slowly."""
        wait_s, shown = self._pace.edit_s, 0
        while True:
            await asyncio.sleep(wait_s)
            wait_s = min(self._pace.slowest_s, wait_s * self._pace.slower)
            if len(seen) > shown:
                shown = len(seen)
                await self._show(board, seen, "asking")

    async def _show(self, board: _Board, seen: Mapping[str, triage.Seen], phase: Phase) -> None:
        survey = board.survey
        overview = triage.overview(
            survey.selection.pattern,
            survey.selection.names,
            seen,
            phase=phase,
            span_s=survey.span_s,
            took_s=self._ctx.clock() - board.begun_s,
            missing=survey.selection.missing,
            command=survey.command,
        )
        try:
            view = self._ctx.views.fleet(overview, asker=board.asker)
        except ViewError:
            self._ctx.log(key=board.key).exception("overview_not_drawn")
            view = self._ctx.views.notice(overview.headline, fix=overview.command)
        await self._ctx.store.put_messages([Draft(key=board.key, channel=board.channel, view=view)])
        self._ctx.wake.set()
