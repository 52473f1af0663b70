"""What a host's helper says that it ran, as evidence: foreign words of any type and number, made few and short."""

import hashlib
from collections.abc import Mapping
from typing import Any

from oombot.model import Json
from oombot.proposals import Request

MOST_STEPS = 500  # of an answer; no plan has more


def _steps(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The steps of the helper's answer, whatever else it may hold, and however much."""
    steps = result.get("steps")
    return [step for step in steps[:MOST_STEPS] if isinstance(step, dict)] if isinstance(steps, list) else []


def _argv(step: Mapping[str, Any]) -> list[str]:
    words = step.get("argv")
    return [str(word)[:200] for word in words[:30]] if isinstance(words, list) else []


def evidence(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the helper ran, as evidence: argv, exit status and what it said."""
    return [
        {
            "argv": _argv(step),
            "exit_status": step.get("exit") if type(step.get("exit")) is int else None,
            "output": str(step.get("stderr") or step.get("stdout") or "")[:500],
            "stdout_sha256": hashlib.sha256(str(step.get("stdout") or "").encode()).hexdigest(),
            "untouched": step.get("untouched") is True,
        }
        for step in _steps(result)
    ]


def failure(result: Mapping[str, Any]) -> str:
    """The step that failed, in its own words."""
    for step in _steps(result):
        if step.get("exit"):
            return f"{' '.join(_argv(step))}: {str(step.get('stderr') or 'failed')[:500]}"
    return str(result.get("error") or "a step failed")[:500]


def done(request: Request) -> int:
    """How many steps of the plan are known to have been done: from the first on, as the host reported them."""
    runs: list[Json] = list(request.evidence.get("runs") or ())
    for count, (step, run) in enumerate(zip(request.plan.steps, runs, strict=False)):
        if run.get("exit_status") != 0 or list(run.get("argv") or ()) != [
            word[:200] for word in step.do.argv[:30]
        ]:
            return count
    return min(len(runs), len(request.plan.steps))


def halfway(request: Request) -> int | None:
    """After how many of its steps it stopped in the middle, where that is so: those can be undone."""
    count = done(request)
    partly = request.state in ("failed", "unverified") and 0 < count < len(request.plan.steps)
    return count if partly else None


def stopped(request: Request) -> list[str]:
    """What a run that stopped in the middle has left, in sentences: nothing of it goes unsaid, nor is more claimed.

    The step that failed says whether it changed something; where the helper itself ended, the next step may have been
    under way.
    """
    steps, runs, count = request.plan.steps, list(request.evidence.get("runs") or ()), done(request)
    said = [f"done: step {number}, {step.why}" for number, step in enumerate(steps[:count], 1)]
    if count == len(steps):
        return said
    touched = "may have been begun; look at the host"
    if count < len(runs):
        untouched = runs[count].get("untouched")
        touched = (
            "failed and changed nothing"
            if untouched
            else "failed and may have changed something; look at the host"
        )
    said.append(f"step {count + 1}, {steps[count].why}, {touched}")
    left = len(steps) - count - 1
    return said + (
        [f"not run: {'step' if left == 1 else 'steps from'} {count + 2} of {len(steps)}"] if left else []
    )
