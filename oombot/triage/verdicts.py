"""The rules of truth: when it was the OOM killer, when it was not, and when nobody can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from oombot.model import HostSnapshot, OomKill, Process
from oombot.triage.amounts import age, plural
from oombot.triage.evidence import Doubt, counter_text, doubt_about, missing
from oombot.triage.limits import limit_of, reason
from oombot.triage.matches import asked_pid, find
from oombot.triage.targets import Target, now_another

Answer = Literal["oom", "not_oom", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer, its sentence, the evidence for it, and what would turn unknown into an answer."""

    answer: Answer
    verdict: str
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked of which host, and the kills that may answer it.

    `known` are all known kills, `inside` those in the span, `concerned` those of what was asked about; `ever` are
    the latter of any time. All but `known` begin with the newest.
    `by_unit`: the question is (or may be) about a unit, so that a kill of unknown place may be meant.
    """

    host: str
    asked: str
    span: str
    since_s: float | None
    known: Sequence[OomKill]
    inside: Sequence[OomKill]
    concerned: Sequence[OomKill]
    ever: Sequence[OomKill]
    target: Target | None
    by_unit: bool

    @property
    def subject(self) -> str:
        """Name what was asked about."""
        return self.target.label if self.target is not None else self.asked.strip()


def not_answering(question: Question, stale_s: float | None, problem: str = "", fix: str = "") -> Finding:
    """Unknown, because the host is silent, or could not be asked (`problem`); a stored kill is still told."""
    seen = "never seen yet" if stale_s is None else f"last seen {age(stale_s)} ago"
    if problem:
        return Finding(
            answer="unknown",
            verdict=f"Unknown: {question.host} could not be asked, {seen}.{_on_record(question)}",
            reason=problem,
            fix=fix or f"Try again: oombot ask {question.host}",
        )
    return Finding(
        answer="unknown",
        verdict=f"Unknown: {question.host} is not answering, {seen}.{_on_record(question)}",
        reason="a host that thrashes answers late or not at all; this is edited if it answers",
        fix=f"Try again, or look at the console: oombot ask {question.host}",
    )


def _on_record(question: Question) -> str:
    """Tell the last stored kill of what was asked about, or that there is none."""
    if question.concerned:
        return f" The last kill on record: {brief(question.concerned[0])}."
    if question.ever:
        return (
            f" No matching kill is on record {question.span}; the last one before: {brief(question.ever[0])}."
        )
    return " No matching kill is on record." if question.known else " No kill is on record."


def killed(question: Question, snapshot: HostSnapshot) -> Finding:
    """The OOM killer did it: the log has the kill."""
    last, count = question.concerned[0], len(question.concerned)
    other = pid_now(question, snapshot)
    least = "At least " if doubt_about(snapshot, question.known, question.since_s) else ""
    more = f" {least}{plural(count, 'kill')} {question.span}." if count > 1 else ""
    lost = missing(snapshot, question.known)
    short = "" if lost is None else f", of which the log shows only {lost[1]}"
    return Finding(
        answer="oom",
        verdict=f"{_yes(question, last)} {who(last)} {_ago(last, snapshot)}. {_why(last)}.{more}"
        + ("" if other is None else f" Pid {other.pid} is another process now: {other.comm}."),
        reason=f"the kernel log names the kill; {counter_text(snapshot)}{short}",
    )


def no_kill(question: Question, snapshot: HostSnapshot) -> Finding:
    """No kill is known: not the OOM killer where the evidence is whole, else unknown."""
    doubt = doubt_about(snapshot, question.known, question.since_s) or _place_doubt(question)
    ended = _ended(question)
    if doubt is not None:
        whom = f" whether the OOM killer took {question.subject}" if question.subject else ""
        verdict = f"Unknown{whom}: {doubt.reason}.{ended}"
        return Finding(answer="unknown", verdict=verdict, reason=doubt.reason, fix=doubt.fix)
    if question.target is not None and question.target.blames_oom:
        return Finding(
            answer="unknown",
            verdict=f"Unknown: systemd says {question.subject} ran out of memory, but the kernel logged no kill.",
            reason="systemd also says oom-kill for what systemd-oomd did, and for a unit below this one",
            fix=f"journalctl -u systemd-oomd; journalctl -u {question.subject}",
        )
    return Finding(
        answer="not_oom",
        verdict=_denial(question)
        + _absent(question, snapshot)
        + _sigkill(ended)
        + _before(question, snapshot),
        reason=f"the kernel log covers it and {counter_text(snapshot)}",
    )


def _yes(question: Question, last: OomKill) -> str:
    """Begin the answer; a pid that runs was not killed itself, whatever became of its namesakes."""
    target, pid = question.target, asked_pid(question.asked)
    if target is None or pid is None or target.pid != pid or last.pid == pid:
        return "Yes: the OOM killer took"
    return f"{target.label} runs. Of the same name, the OOM killer took"


def _absent(question: Question, snapshot: HostSnapshot) -> str:
    """Say that nothing has the name that was asked for: it may be misspelt."""
    word = question.asked.strip()
    if not word or not snapshot.processes_whole or find(snapshot, word):
        return ""
    what = f"pid {word}" if asked_pid(word) is not None else "process and no loaded service of that name"
    return f" There is no {what} now."


def who(kill: OomKill) -> str:
    """Name the victim and where it lived."""
    victim = limit_of(kill).victim
    place = "" if victim.kind == "none" else f" in {victim.label}"
    return f"{kill.comm} (pid {kill.pid}){place}"


def brief(kill: OomKill) -> str:
    """Tell a kill in one line."""
    return f"{who(kill)}: {reason(kill, limit_of(kill))}"


def _why(kill: OomKill) -> str:
    """Begin a sentence with the reason; the name of a unit keeps its spelling."""
    why = reason(kill, limit_of(kill))
    return why[0].upper() + why[1:] if why.startswith(("the ", "a ", "somebody ")) else why


def _ago(kill: OomKill, snapshot: HostSnapshot) -> str:
    """Say how long ago, by the host's clock."""
    now_s = snapshot.taken_s if snapshot.now_s is None else snapshot.now_s
    about = "about " if kill.time_approximate else ""
    return "at an unknown time" if kill.time_s is None else f"{about}{age(now_s - kill.time_s)} ago"


def pid_now(question: Question, snapshot: HostSnapshot) -> Process | None:
    """Find who has the pid that was asked for, when its killed process is not the one that has it now."""
    last = question.concerned[0] if question.concerned else None
    if last is None or question.asked.strip() != str(last.pid):
        return None
    return now_another(last, snapshot)


def _denial(question: Question) -> str:
    """Say that it was not the OOM killer."""
    if not question.subject:
        return f"No OOM kill on {question.host} {question.span}."
    others = len(question.inside)
    beside = f" ({plural(others, 'other kill')} on {question.host})" if others else ""
    return f"{question.subject} was not killed by the OOM killer {question.span}{beside}."


def _before(question: Question, snapshot: HostSnapshot) -> str:
    """Mention the last kill before the span: a reboot does not undo it."""
    inside = {id(kill) for kill in question.inside}
    earlier = [k for k in question.ever if id(k) not in inside and k.time_s is not None]
    if not earlier:
        return ""
    last = max(earlier, key=lambda kill: kill.time_s or 0.0)
    return f" Before that: {who(last)}, {_ago(last, snapshot)}."


def _place_doubt(question: Question) -> Doubt | None:
    """Doubt where a kill's report was lost: a unit was asked for, and the victim's unit is not known."""
    if not question.by_unit:
        return None
    lost = next((kill for kill in question.inside if kill.task_memcg is None), None)
    if lost is None:
        return None
    return Doubt(reason=f"{lost.comm} (pid {lost.pid}) was killed and the log does not say in which unit")


def _ended(question: Question) -> str:
    """Say how systemd saw the unit end, when it did not end well."""
    target = question.target
    if target is None or target.ended is None or target.blames_oom:
        return ""
    return f" {target.ended[0].upper()}{target.ended[1:]}."


def _sigkill(ended: str) -> str:
    """Add to a SIGKILL what it is not: the OOM killer also ends a process by it, and leaves a line."""
    if "SIGKILL" not in ended:
        return ended
    return f"{ended[:-1]}, but the kernel logged no OOM kill of it."
