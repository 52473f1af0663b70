"""OOM scores for people: the highest ones, taken apart by what the host's kernel does."""

from dataclasses import dataclass

from oombot import badness
from oombot.model import HostSnapshot, Process
from oombot.triage.machine import holder, incomplete


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLine:
    """One process with its oom_score as /proc shows it; `parts` is the sum that makes it."""

    pid: int
    comm: str
    shown: int | None
    adj: int | None
    parts: str
    unit: str


def scores(snapshot: HostSnapshot, count: int = 5) -> tuple[ScoreLine, ...]:
    """List the highest scores that /proc shows, each taken apart."""
    scored = [process for process in snapshot.processes if process.oom_score and not process.kernel_thread]
    highest = sorted(
        scored, key=lambda process: (-(process.oom_score or 0), -(process.rss_kb or 0), process.pid)
    )
    scale = badness.scale(snapshot)
    return tuple(score_line(process, snapshot, scale) for process in highest[:count])


def score_line(process: Process, snapshot: HostSnapshot, scale: badness.Scale | None) -> ScoreLine:
    """Show one process's score and the sum that makes it."""
    return ScoreLine(
        pid=process.pid,
        comm=process.comm,
        shown=process.oom_score,
        adj=process.oom_score_adj,
        parts=score_parts(badness.decompose(process, snapshot, kernel_scale=scale)),
        unit=holder(process),
    )


def score_parts(score: badness.Score | None) -> str:
    """Write the sum: `= 666 idle + 412 memory − 333 adj`; say when the kernel never takes the process."""
    if score is None:
        return "(not computable from what the host let us read)"
    if not score.killable:
        return "(never chosen by the kernel)"
    idle = f"{score.baseline} idle + " if score.baseline else ""
    rest = "" if score.rounding == 0 else f" {_signed(score.rounding)} rounding"
    drift = "" if score.shown in (None, score.computed) else f" (computes to {score.computed})"
    return f"= {idle}{score.memory} memory {_signed(score.adj)} adj{rest}{drift}"


def scores_note(snapshot: HostSnapshot) -> str:
    """Say what the numbers are measured against, and what they do not say about a cgroup's kill."""
    texts = {
        "since_5_9": "This kernel (formula since 5.9) scores an idle process 666 and one that holds all memory 1333; "
        "adj moves that by up to ±666.",
        "before_5_9": "This kernel (formula before 5.9) scores an idle process 0 and one that holds all memory 1000; "
        "adj is added to that.",
    }
    scale = badness.scale(snapshot)
    formula = texts.get(scale or "", "Which formula this kernel uses could not be told from its scores.")
    why = incomplete(snapshot)
    partial = f" Incomplete: {why}, others may stand above these." if why else ""
    rank = "They rank for the whole host; when a cgroup hits its limit, only its own processes compete."
    return f"{formula} {rank}{partial}"


def _signed(number: int) -> str:
    """Write a term of a sum with its sign in front."""
    return f"+ {number}" if number >= 0 else f"− {-number}"
