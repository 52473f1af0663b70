"""Doctor judges: what was gathered becomes lines that say what, why and the command that mends it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from oombot.doctor.gathered import Gathered
from oombot.doctor.shape import BotCheck, HostCheck, Line, State

__all__ = ["BotCheck", "HostCheck", "Line", "State", "counts", "examine", "verdict"]

STATES: tuple[State, ...] = ("ok", "warning", "wrong", "unknown")


def examine(gathered: Gathered, checks: Mapping[str, BotCheck | HostCheck]) -> tuple[Line, ...]:
    """Every line of every check: the bot's subjects first, then host by host."""
    ranked = sorted(checks.values(), key=lambda check: check.rank)
    found = [
        replace(line, check=check.name)
        for check in ranked
        if isinstance(check, BotCheck) and (gathered.settings is not None or not check.needs_settings)
        for line in check.lines(gathered)
    ]
    if gathered.settings is None:
        return tuple(found)
    found += [
        replace(line, check=check.name, host=host.name)
        for host in gathered.hosts
        for check in ranked
        if isinstance(check, HostCheck)
        for line in check.lines(host, gathered)
    ]
    return tuple(found)


def counts(lines: Sequence[Line]) -> dict[State, int]:
    """How many lines there are of each state."""
    return {state: sum(line.state == state for line in lines) for state in STATES}


def verdict(lines: Sequence[Line]) -> State:
    """The worst state there is: wrong, then warning, then unknown, then ok."""
    found = {line.state for line in lines}
    return next((state for state in ("wrong", "warning", "unknown") if state in found), "ok")
