"""The shape of a check: a pure function from what was gathered to lines; one file a subject, found by its name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from oombot.doctor.gathered import Gathered, HostFacts

State = Literal["ok", "warning", "wrong", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that was looked at: what is so, why that matters, and the command that mends it.

    `item` names it for programs and never changes its meaning; `check` and `host` are filled in by `examine`.
    A line that is not ok has both a why and a fix.
    """

    item: str
    state: State
    what: str
    why: str = ""
    fix: str = ""
    check: str = ""
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BotCheck:
    """Looks at one subject of the bot itself."""

    name: str  # equal to the file name
    rank: int  # lines come in this order
    lines: Callable[[Gathered], Iterable[Line]]
    needs_settings: bool = True  # says nothing where the configuration could not be read


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCheck:
    """Looks at one subject of each host."""

    name: str  # equal to the file name
    rank: int
    lines: Callable[[HostFacts, Gathered], Iterable[Line]]


def ok(item: str, what: str, why: str = "") -> Line:
    """As it should be."""
    return Line(item=item, state="ok", what=what, why=why)


def warning(item: str, what: str, why: str, fix: str) -> Line:
    """Works, and a person should know what it costs."""
    return Line(item=item, state="warning", what=what, why=why, fix=fix)


def wrong(item: str, what: str, why: str, fix: str) -> Line:
    """Does not work, or not for long."""
    return Line(item=item, state="wrong", what=what, why=why, fix=fix)


def unknown(item: str, what: str, why: str, fix: str) -> Line:
    """Could not be asked: neither right nor wrong may be said."""
    return Line(item=item, state="unknown", what=what, why=why, fix=fix)
