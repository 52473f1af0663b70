"""Answers to `/oom HOST [PID|NAME|UNIT] [since 2h]`, for Slack and for the command line alike."""

import re
from collections import OrderedDict
from dataclasses import dataclass, replace

from oombot import triage
from oombot.config import duration_s
from oombot.engine.context import Context
from oombot.engine.readings import Readings
from oombot.errors import RefusedError
from oombot.model import HostSnapshot, Json, OomKill
from oombot.sameness import same_kill

REMEMBERED = 200
KNOWN = 500
_AFTER_COMMA = re.compile(r",\s+")
_LINK = re.compile(r"<(?:https?://|tel:|mailto:)[^|>]*\|(?P<shown>[^>]*)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person asked, parsed: a host, perhaps a process or unit, perhaps how far back (seconds)."""

    host: str
    target: str = ""
    since_s: float | None = None

    @property
    def text(self) -> str:
        """The question as one would type it."""
        since = "" if self.since_s is None else f"since {self.since_s:.0f}s"
        return " ".join(part for part in (self.host, self.target, since) if part)


def question(text: str) -> Question:
    """Parse the words after `/oom`; RefusedError says what was not understood."""
    words = [unlinked(word) for word in _AFTER_COMMA.sub(",", text).split()]
    since = None
    if len(words) >= 2 and words[-2] == "since":
        since = duration_s(words[-1])
        if since is None:
            raise RefusedError(f"{words[-1]!r} is no length of time.", fix="since 45s, 30m, 2h or 7d")
        words = words[:-2]
    if not words or len(words) > 2 or (len(words) == 2 and words[-1] == "since"):
        raise RefusedError(
            "That was not understood; nothing was asked.", fix="/oom HOST [PID|NAME|UNIT] [since 2h]"
        )
    return Question(host=words[0], target=words[1] if len(words) == 2 else "", since_s=since)


class Answers:
    """Judges a reading and draws the answer."""

    def __init__(self, context: Context, readings: Readings) -> None:
        """Remember the last questions, so that an answer can be shared."""
        self._ctx, self._readings = context, readings
        self._asked: OrderedDict[str, Question] = OrderedDict()

    async def diagnose(
        self,
        asked: Question,
        snapshot: HostSnapshot | None,
        *,
        stale: bool = False,
        problem: str = "",
        fix: str = "",
    ) -> triage.Diagnosis:
        """The judgement as data: what the reading's own log shows, and what was stored before.

        `stale`: the host does not answer, or could not be asked because of `problem`.
        """
        since = None if asked.since_s is None else self._ctx.clock() - asked.since_s
        matches = self.matches(asked, snapshot)
        if snapshot is not None:
            snapshot = replace(snapshot, problems=(*snapshot.problems, *await self._unfollowed(asked.host)))
        return triage.diagnose(
            host=asked.host,
            snapshot=snapshot,
            kills=await self.kills(asked.host, snapshot),
            since_s=since,
            target=matches[0] if len(matches) == 1 else None,
            asked=asked.target,
            stale_s=self._age(snapshot) if stale else None,
            problem=problem,
            fix=fix,
        )

    async def _unfollowed(self, host: str) -> list[str]:
        """Why the host is not followed, where its channel was told so: kills of that time may be missing here."""
        told = [outage for outage in await self._ctx.store.outages() if host in outage.away]
        return [f"not followed: {outage.problem}" for outage in told]

    async def fresh(self, asked: Question, snapshot: HostSnapshot, *, asker: str | None = None) -> Json:
        """The answer from a reading made just now; several candidates are listed, never guessed."""
        matches = self.matches(asked, snapshot)
        if len(matches) > 1:
            return self._ctx.views.matches(asked.host, asked.target, matches)
        return await self._view(asked, await self.diagnose(asked, snapshot), asker=asker)

    async def stale(self, asked: Question, problem: str = "", *, fix: str = "") -> Json:
        """The answer when the host does not answer, or why it could not be asked: what is stored, and how old it is."""
        snapshot = await self._readings.last(asked.host)
        return await self._view(
            asked, await self.diagnose(asked, snapshot, stale=True, problem=problem, fix=fix)
        )

    def matches(self, asked: Question, snapshot: HostSnapshot | None) -> tuple[triage.Match, ...]:
        """What the word after the host may mean."""
        return triage.find(snapshot, asked.target) if snapshot is not None and asked.target else ()

    async def kills(self, host: str, snapshot: HostSnapshot | None) -> list[OomKill]:
        """Every known kill: the log's own and those that only the store still knows."""
        read = self._readings.kills(snapshot) if snapshot is not None else []
        stored = [incident.kill for incident in await self._ctx.store.incidents(host, limit=KNOWN)]
        return read + [kill for kill in stored if not any(same_kill(kill, other) for other in read)]

    def _age(self, snapshot: HostSnapshot | None) -> float | None:
        return None if snapshot is None else self._ctx.clock() - snapshot.taken_s

    def remembered(self, ask: str) -> Question | None:
        """The question behind a Share button."""
        return self._asked.get(ask)

    async def _view(self, asked: Question, diagnosis: triage.Diagnosis, *, asker: str | None = None) -> Json:
        ask = self._ctx.new_id()
        self._asked[ask] = asked
        while len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)
        incident_id = await self._incident_id(asked.host, diagnosis)
        return self._ctx.views.triage(
            diagnosis,
            incident_id=incident_id,
            mode=self._ctx.settings.mode,
            ask=None if asker else ask,
            asker=asker,
            runbook=self._ctx.settings.runbook(asked.host),
        )

    async def _incident_id(self, host: str, diagnosis: triage.Diagnosis) -> str | None:
        """The stored kill that the answer leads with, so that its report can be opened."""
        if not diagnosis.kills:
            return None
        wanted = diagnosis.kills[0].kill
        for incident in await self._ctx.store.incidents(host, limit=KNOWN):
            if same_kill(incident.kill, wanted):
                return incident.id
        return None


def unlinked(word: str) -> str:
    """Host names that Slack has turned into links (`<http://host42|host42>`), as they were typed."""
    return _LINK.sub(r"\g<shown>", word)
