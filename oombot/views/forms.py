"""What the dialog of the remedies is given: its menu, and the fields of a form cut to what Slack takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from oombot.remediations.shape import Field, Option, Remediation
from oombot.triage import Match

_OPTIONS: Final = 100  # of a menu in Slack
_VALUE: Final = 150  # characters of an option's value
_TARGETS: Final = 20
DURATIONS: Final = (
    Option(value="900", label="15 minutes"),
    Option(value="7200", label="2 hours"),
    Option(value="28800", label="8 hours"),
    Option(value="86400", label="1 day"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One remedy of the menu; `unfit` says why it can not work here, "" where it may."""

    name: str
    label: str
    summary: str
    unfit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FixMenu:
    """The menu: what may work first, in the order given, then what can not."""

    host: str
    about: str
    fit: tuple[Choice, ...]
    unfit: tuple[Choice, ...]
    private: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One field as Slack draws it; `left_out` counts options that it has no room for."""

    field: Field
    options: tuple[Option, ...]
    initial: Option | None
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FixForm:
    """The form of one remedy; `blocked` names the fields that have nothing to choose."""

    host: str
    label: str
    summary: str
    mitigation: bool
    inputs: tuple[Input, ...]
    blocked: tuple[Field, ...]
    durations: tuple[Option, ...]
    private: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FixTargets:
    """Several things that a word may mean, each with the value of its button."""

    host: str
    asked: str
    targets: tuple[tuple[str, Match], ...]
    more: int
    private: str


def menu_of(host: str, about: str, choices: Sequence[Choice], private: str) -> FixMenu:
    """Put what can be chosen before what can not."""
    fit = tuple(choice for choice in choices if not choice.unfit)
    unfit = tuple(choice for choice in choices if choice.unfit)
    return FixMenu(host=host, about=about, fit=fit, unfit=unfit, private=private)


def form_of(host: str, remedy: Remediation, fields: Sequence[Field], private: str, *, timed: bool) -> FixForm:
    """Cut the fields to what Slack takes; a required choice without options blocks the form."""
    inputs = tuple(_input(field) for field in fields)
    empty = [one for one in inputs if one.field.kind == "choice" and not one.options]
    return FixForm(
        host=host,
        label=remedy.label,
        summary=remedy.summary,
        mitigation=remedy.mitigation,
        inputs=tuple(one for one in inputs if one not in empty),
        blocked=tuple(one.field for one in empty if not one.field.optional),
        durations=DURATIONS if timed and remedy.timed else (),
        private=private,
    )


def targets_of(host: str, asked: str, matches: Sequence[Match], private: str) -> FixTargets:
    """Name each candidate for good: a process by pid and start, a unit by its name."""
    named = tuple((_named(match), match) for match in matches[:_TARGETS])
    more = max(0, len(matches) - _TARGETS)
    return FixTargets(host=host, asked=asked, targets=named, more=more, private=private)


def _named(match: Match) -> str:
    if match.unit is not None:
        return match.unit.name
    assert match.process is not None
    return f"{match.process.pid}:{match.process.start_ticks}"


def _input(field: Field) -> Input:
    """Each value once; one that Slack can not carry whole is left out rather than shortened."""
    known = {option.value: option for option in reversed(field.options)}
    usable = [option for option in field.options if 0 < len(option.value) <= _VALUE]
    once = tuple(option for option in usable if known[option.value] is option)[:_OPTIONS]
    initial = next((option for option in once if option.value == field.initial), None)
    return Input(field=field, options=once, initial=initial, left_out=len(known) - len(once))
