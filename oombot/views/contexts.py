"""What templates are given: frozen values, nothing with a door behind it."""

from dataclasses import dataclass
from typing import Literal

from oombot.following import Digest, DigestLine, Outage
from oombot.model import Json
from oombot.proposals import Exhibit, Plan, Request
from oombot.triage import Diagnosis, KillStory, Match, Overview
from oombot.views.steps import Part

Mode = Literal["observe", "propose", "apply"]
_BLOCK_LINES = 7
_NAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """The kill card."""

    story: KillStory
    incident_id: str
    mode: str
    late: bool
    replayed: bool
    offers: tuple[tuple[str, str], ...]  # remedy and title
    runbook: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Triage:
    """The answer to /oom."""

    diagnosis: Diagnosis
    incident_id: str | None
    mode: str
    ask: str | None
    asker: str | None
    runbook: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCard:
    """A plan that waits for a person, or was decided."""

    request: Request
    plan: Plan
    mode: str
    approvers: tuple[str, ...]
    stale_of: str | None
    note: str
    undo_of: str | None
    evidence: "Evidence"
    steps: tuple[tuple[Part, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One command that was run and how it ended; `exit_status` is None where that is not known."""

    argv: tuple[str, ...]
    exit_status: int | None
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What came of a request: read-back before and after, what was run, what is wrong, and when that was."""

    before: str | None
    after: str | None
    runs: tuple[Run, ...]
    problems: tuple[str, ...]
    at_s: float | None = None
    exhibits: tuple[Exhibit, ...] = ()

    def whole(self, plan: Plan) -> bool:
        """Whether every step of the plan is known to have been done."""
        return len(self.runs) == len(plan.steps) and all(run.exit_status == 0 for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The evidence in the thread."""

    request: Request
    plan: Plan
    evidence: Evidence
    undo: bool
    undone: bool
    at_s: float
    exhibits: tuple[tuple[str, str | None, str | None], ...]  # label, before, after
    preview: tuple[str, ...]  # what Undo would run
    back_at_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """A change that the host puts back by itself soon, or has put back."""

    request: Request
    plan: Plan
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The kernel's report."""

    story: KillStory
    attached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One sentence for one person, the fix, and who stands behind it."""

    sentence: str
    fix: str
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PressTest:
    """A button to be pressed, to prove that presses arrive."""

    value: str
    wait_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Several things a word may mean."""

    host: str
    asked: str
    matches: tuple[Match, ...]
    more: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The overview of many hosts; `asking` marks the block that is there while hosts are still asked."""

    overview: Overview
    asker: str
    asking: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGap:
    """A stretch of a host's log that was not seen."""

    host: str
    reason: str
    fix: str
    since_s: float | None
    until_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestCard:
    """The kills of a storm; `parts` are its lines, as many as a block holds."""

    digest: Digest
    parts: tuple[tuple[DigestLine, ...], ...]
    shown: int  # kills that the first three lines name


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageCard:
    """Hosts that are unheard, or were: how many, the first names, and how many more."""

    outage: Outage
    names: tuple[str, ...]
    more: int
    count: int
    away: int
    returned: int
    back_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Kills that the kernel counted and no log shows."""

    host: str
    counter: int
    shown: int
    before: int
    missing: int
    blind: bool
    since_s: float | None
    until_s: float
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Help:
    """What the bot can do here."""

    hosts: tuple[str, ...]
    more: int
    mode: str
    may_approve: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and what is true of it; a value that is the id of a user or a group is shown as theirs."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A short list of facts."""

    title: str
    facts: tuple[Fact, ...]  # the first ones, for the fallback
    parts: tuple[tuple[Fact, ...], ...]  # all of them, as many as a block holds
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of what happened or waits, with its time; `sign` is an emoji of our own."""

    at_s: float
    sign: str
    text: str
    who: str = ""
    expires_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What happened, in the order of time."""

    title: str
    count: int
    parts: tuple[tuple[Event, ...], ...]  # as many as a block holds
    more: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    """Nothing: the template has all it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modal:
    """A modal that only says something."""

    title: str
    sentence: str


def digest_of(digest: Digest) -> DigestCard:
    """Cut the lines into blocks, none longer than Slack takes."""
    parts = tuple(digest.lines[at : at + _BLOCK_LINES] for at in range(0, len(digest.lines), _BLOCK_LINES))
    return DigestCard(digest=digest, parts=parts, shown=sum(line.kills for line in digest.lines[:3]))


def outage_of(outage: Outage) -> OutageCard:
    """Name the first hosts that are away, or that were."""
    away = outage.away
    listed = away or tuple(sorted(outage.hosts))
    backs = [back_s for back_s in outage.hosts.values() if back_s is not None]
    return OutageCard(
        outage=outage,
        names=listed[:_NAMES],
        more=max(0, len(listed) - _NAMES),
        count=len(outage.hosts),
        away=len(away),
        returned=len(backs),
        back_s=max(backs, default=None),
    )


def exhibits_of(plan: Plan, evidence: Evidence) -> tuple[tuple[str, str | None, str | None], ...]:
    """What the host showed before and after, side by side by label."""
    before = {one.label: one.text for one in plan.evidence}
    after = {one.label: one.text for one in evidence.exhibits}
    return tuple((label, before.get(label), after.get(label)) for label in {**before, **after})


def evidence_of(data: Json) -> Evidence:
    """Read a request's evidence: before, after, problems, at_s, exhibits, runs; all may lack."""
    runs = tuple(
        Run(
            argv=tuple(str(part) for part in run.get("argv", ())),
            exit_status=run.get("exit_status"),
            output=str(run.get("output", "")),
        )
        for run in data.get("runs", ())
    )
    before, after = (None if data.get(key) is None else str(data[key]) for key in ("before", "after"))
    problems = tuple(str(problem) for problem in data.get("problems", ()))
    at_s = data.get("at_s")
    at_s = at_s if isinstance(at_s, int | float) else None
    exhibits = tuple(
        Exhibit(label=str(one.get("label", "")), text=str(one.get("text", "")))
        for one in data.get("exhibits", ())
    )
    return Evidence(before=before, after=after, runs=runs, problems=problems, at_s=at_s, exhibits=exhibits)
