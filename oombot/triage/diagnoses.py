"""The answer to `/oom HOST [PID|NAME|UNIT] [since]`: the verdict, and the numbers of the host behind it."""

from collections.abc import Sequence
from dataclasses import dataclass

from oombot.model import HostSnapshot, OomKill, Unit
from oombot.triage.amounts import age
from oombot.triage.evidence import boot_s
from oombot.triage.limits import limit_of
from oombot.triage.machine import Consumer, Memory, consumers, incomplete, memory, pressure
from oombot.triage.matches import Match
from oombot.triage.prospects import back, is_later
from oombot.triage.scores import ScoreLine, scores, scores_note
from oombot.triage.services import how_it_ended
from oombot.triage.targets import Target, concerned, describe
from oombot.triage.verdicts import Answer, Finding, Question, brief, killed, no_kill, not_answering, pid_now

_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class KillLine:
    """One kill in a list: when (None = the log does not say), who, and why."""

    time_s: float | None
    time_approximate: bool
    text: str
    kill: OomKill


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found: the answer, its sentence, and the numbers behind it.

    `stale` is set when the host does not answer: what follows is then what was stored. Fields of a host that
    was never read are None or empty. `fix` is what would turn unknown into an answer. `kills_of_others` is true
    when the listed kills are not of what was asked about; `incomplete` says why the lists of processes are not whole.
    """

    host: str
    asked: str
    answer: Answer
    verdict: str
    reason: str
    fix: str
    now: str | None
    stale: str
    span: str
    kills: tuple[KillLine, ...]
    kill_count: int
    failed_units: tuple[str, ...]
    memory: Memory | None
    consumers: tuple[Consumer, ...]
    scores: tuple[ScoreLine, ...]
    scores_note: str
    target: Target | None
    problems: tuple[str, ...]
    taken_s: float | None
    replayed: bool
    kills_of_others: bool = False
    incomplete: str = ""


def diagnose(
    *,
    host: str,
    snapshot: HostSnapshot | None,
    kills: Sequence[OomKill],
    since_s: float | None = None,
    target: Match | None = None,
    asked: str = "",
    stale_s: float | None = None,
    problem: str = "",
    fix: str = "",
) -> Diagnosis:
    """Answer from what is known. `kills` are all known kills of the host, in any order.

    `stale_s` is set when the host does not answer now: so many seconds ago it was last seen, and `snapshot` is
    what was stored then; `problem` and `fix` say why it could not be asked, where that is known. `since_s` is a
    point in time; None asks for the time since boot.
    """
    question = _question(
        host=host,
        snapshot=snapshot,
        kills=kills,
        since_s=since_s,
        target=target,
        asked=asked,
        stale_s=stale_s,
    )
    if snapshot is None or stale_s is not None:
        finding = not_answering(question, stale_s, problem, fix)
    elif question.concerned:
        finding = killed(question, snapshot)
    else:
        finding = no_kill(question, snapshot)
    silent = snapshot is None or stale_s is not None
    return _diagnosis(question, finding, snapshot, _stale(snapshot, stale_s, problem) if silent else "")


def _question(
    *,
    host: str,
    snapshot: HostSnapshot | None,
    kills: Sequence[OomKill],
    since_s: float | None,
    target: Match | None,
    asked: str,
    stale_s: float | None,
) -> Question:
    """Sort the known kills by what was asked; of a silent host nobody knows when it was booted last."""
    booted_s = None if snapshot is None or stale_s is not None else boot_s(snapshot)
    start_s = booted_s if since_s is None else since_s
    newest_first = sorted(kills, key=lambda kill: kill.time_s or 0.0, reverse=True)
    inside = [k for k in newest_first if start_s is None or k.time_s is None or k.time_s >= start_s - 2]
    those = concerned(inside, target, asked)
    return Question(
        host=host,
        asked=asked,
        span=_span(snapshot, since_s, stale_s),
        since_s=since_s,
        known=kills,
        inside=inside,
        concerned=those,
        ever=concerned(newest_first, target, asked),
        target=None if target is None or snapshot is None else describe(target, snapshot, those),
        by_unit=bool(asked.strip() and target is None) or (target is not None and target.unit is not None),
    )


def _diagnosis(question: Question, finding: Finding, snapshot: HostSnapshot | None, stale: str) -> Diagnosis:
    """Put the finding together with the host's numbers."""
    listed = question.concerned or question.inside
    return Diagnosis(
        host=question.host,
        asked=question.asked,
        answer=finding.answer,
        verdict=finding.verdict,
        reason=finding.reason,
        fix=finding.fix,
        now=None if snapshot is None else _now(snapshot, question),
        stale=stale,
        span=question.span,
        kills=tuple(_line(kill) for kill in listed[:_LISTED]),
        kill_count=len(listed),
        failed_units=() if snapshot is None else _failed_units(snapshot.units, question.target),
        memory=None if snapshot is None else memory(snapshot),
        consumers=() if snapshot is None else consumers(snapshot),
        scores=() if snapshot is None else scores(snapshot),
        scores_note="" if snapshot is None else scores_note(snapshot),
        target=question.target,
        problems=() if snapshot is None else snapshot.problems,
        taken_s=None if snapshot is None else snapshot.taken_s,
        replayed=snapshot is not None and snapshot.replayed,
        kills_of_others=bool(question.subject and listed and not question.concerned),
        incomplete="" if snapshot is None else incomplete(snapshot),
    )


def _now(snapshot: HostSnapshot, question: Question) -> str:
    """Say what the host looks like: the victim's or target's unit, free memory, pressure."""
    parts = []
    last = question.concerned[0] if question.concerned else None
    if question.target is not None and question.target.now and pid_now(question, snapshot) is None:
        parts.append(question.target.now)
    elif last is not None and is_later(snapshot, last):
        parts.append(back(last, limit_of(last), snapshot))
    uptime = "" if snapshot.uptime_s is None else f", up {age(snapshot.uptime_s)}"
    parts.append(f"Host: {pressure(snapshot)}{uptime}")
    return ". ".join(parts) + "."


def _span(snapshot: HostSnapshot | None, since_s: float | None, stale_s: float | None) -> str:
    """Name the span of time that was asked about; what is stored of a silent host is not bound to a boot."""
    if since_s is None and (snapshot is None or stale_s is not None):
        return "on record"
    if snapshot is None:
        return "in the time asked about"
    if since_s is None:
        return "since boot" if snapshot.uptime_s is None else f"since boot ({age(snapshot.uptime_s)} ago)"
    now_s = snapshot.taken_s if snapshot.now_s is None else snapshot.now_s
    return f"in the last {age(now_s + (stale_s or 0.0) - since_s)}"


def _stale(snapshot: HostSnapshot | None, stale_s: float | None, problem: str) -> str:
    """Say that the host is silent, or could not be asked, and how old what follows is."""
    silence = "could not be asked" if problem else "not answering"
    seen = "never seen yet" if stale_s is None else f"last seen {age(stale_s)} ago"
    return f"{silence}, {seen}" + ("" if snapshot is None else ": what is stored follows")


def _failed_units(units: Sequence[Unit], target: Target | None) -> tuple[str, ...]:
    """List failed services, but the one asked about, with how each ended."""
    asked = None if target is None else target.label
    failed = [unit for unit in units if unit.active_state == "failed" and unit.name != asked]
    return tuple(f"{unit.name}: {how_it_ended(unit)}" for unit in failed[:_LISTED])


def _line(kill: OomKill) -> KillLine:
    """Put one kill into a list."""
    return KillLine(time_s=kill.time_s, time_approximate=kill.time_approximate, text=brief(kill), kill=kill)
