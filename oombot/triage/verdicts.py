"""The rules of truth: when it was the OOM killer, when it was not, and when nobody can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from oombot.model import HostSnapshot, OomKill
from oombot.triage.amounts import age, plural
from oombot.triage.evidence import counter_text, doubt_about
from oombot.triage.limits import limit_of, reason
from oombot.triage.targets import Target

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

    `known` are all known kills, `inside` those in the span, `concerned` those of what was asked about.
    """

    host: str
    asked: str
    span: str
    since_s: float | None
    known: Sequence[OomKill]
    inside: Sequence[OomKill]
    concerned: Sequence[OomKill]
    target: Target | None

    @property
    def subject(self) -> str:
        """Name what was asked about."""
        return self.target.label if self.target is not None else self.asked.strip()


def not_answering(question: Question, stale_s: float | None) -> Finding:
    """Unknown, because the host is silent; a stored kill is still told."""
    stored = question.concerned
    last = f" The last kill on record: {brief(stored[0])}." if stored else " No kill is on record."
    seen = "never seen yet" if stale_s is None else f"last seen {age(stale_s)} ago"
    return Finding(
        answer="unknown",
        verdict=f"Unknown: {question.host} is not answering, {seen}.{last}",
        reason="a host that thrashes answers late or not at all; this is edited if it answers",
        fix=f"Try again, or look at the console: oombot hosts test {question.host}",
    )


def killed(question: Question, snapshot: HostSnapshot) -> Finding:
    """The OOM killer did it: the log has the kill."""
    last, count = question.concerned[0], len(question.concerned)
    now_s = snapshot.taken_s if snapshot.now_s is None else snapshot.now_s
    when = "at an unknown time" if last.time_s is None else f"{age(now_s - last.time_s)} ago"
    more = f" {plural(count, 'kill')} {question.span}." if count > 1 else ""
    return Finding(
        answer="oom",
        verdict=f"Yes, the OOM killer: {brief(last)}, {when}.{more}",
        reason=f"the kernel log names the kill; {counter_text(snapshot)}",
    )


def no_kill(question: Question, snapshot: HostSnapshot) -> Finding:
    """No kill is known: not the OOM killer where the evidence is whole, else unknown."""
    doubt = doubt_about(snapshot, question.known, question.since_s)
    ended = _ended(question)
    if doubt is not None:
        whom = f" whether the OOM killer took {question.subject}" if question.subject else ""
        return Finding(
            answer="unknown",
            verdict=f"Unknown{whom}: {doubt.reason}.{ended}",
            reason=doubt.reason,
            fix=doubt.fix,
        )
    if question.target is not None and question.target.blames_oom:
        return Finding(
            answer="unknown",
            verdict=f"Unknown: systemd says {question.target.label} ran out of memory, but the kernel logged no kill.",
            reason="systemd also says oom-kill for systemd-oomd, and for a unit above it",
            fix=f"journalctl -u systemd-oomd; journalctl -u {question.target.label}",
        )
    others = len(question.inside)
    if question.subject:
        beside = f" ({plural(others, 'other kill')} on {question.host})" if others else ""
        verdict = (
            f"Not the OOM killer: {question.subject} was not killed by it {question.span}{beside}.{ended}"
        )
    else:
        verdict = f"Not the OOM killer: no kill on {question.host} {question.span}."
    return Finding(
        answer="not_oom", verdict=verdict, reason=f"the kernel log covers it and {counter_text(snapshot)}"
    )


def brief(kill: OomKill) -> str:
    """Tell a kill in one clause."""
    limit = limit_of(kill)
    place = "" if limit.victim.kind == "none" else f" in {limit.victim.label}"
    return f"{kill.comm} (pid {kill.pid}){place}: {reason(kill, limit)}"


def _ended(question: Question) -> str:
    """Say how systemd saw the unit end, when it did not end well."""
    target = question.target
    if target is None or target.ended is None or target.blames_oom:
        return ""
    kernel = "; the kernel logged no OOM kill of it" if "SIGKILL" in target.ended else ""
    return f" {target.label}: {target.ended}{kernel}."
