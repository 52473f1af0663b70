"""What a host's helper says that it ran, as evidence: foreign words of any type and number, made few and short."""

from collections.abc import Mapping
from typing import Any

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
        }
        for step in _steps(result)
    ]


def failure(result: Mapping[str, Any]) -> str:
    """The step that failed, in its own words."""
    for step in _steps(result):
        if step.get("exit"):
            return f"{' '.join(_argv(step))}: {str(step.get('stderr') or 'failed')[:500]}"
    return str(result.get("error") or "a step failed")[:500]
