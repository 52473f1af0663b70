"""`oombot fix`: what can be done about a host, and the proposal of one remedy, with its form as key=value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from oombot import details, triage
from oombot.cli.deciding import outcome
from oombot.cli.drawing import cell, plain
from oombot.cli.plans_drawn import draw_plan
from oombot.cli.session import Session, acted
from oombot.config import duration_s
from oombot.engine import plans
from oombot.errors import ConfigError, NotApproverError, RefusedError
from oombot.model import HostSnapshot
from oombot.remediations.shape import Field, Remediation, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was typed."""

    host: str
    remedy: str = ""
    values: tuple[str, ...] = ()
    for_: str = ""
    unit: str = ""
    pid: int | None = None
    yes: bool = False


def fix(wanted: Wanted, *, config: Path) -> int:
    """List the remedies of a host, or propose one of them and, on a yes, run it."""

    async def act(session: Session) -> int:
        host = session.settings.host(wanted.host).name
        snapshot = await session.bot.readings.now(host, asked=True)
        target = _target(wanted, snapshot)
        if not wanted.remedy:
            _draw_menu(session, host, snapshot, target)
            return 0
        return await _fix(session, wanted, snapshot, target)

    return acted(config, act)


async def _fix(session: Session, wanted: Wanted, snapshot: HostSnapshot, target: Target) -> int:
    person, policy = session.person, session.settings.policy
    remedy = _remedy(session, wanted.remedy)
    if unfit := plans.unfit(remedy, snapshot, target, policy):
        raise RefusedError(f"{remedy.label} can not work on {snapshot.host}: {unfit}. Nothing was proposed.")
    params = remedy.parse(filled(remedy.fields(snapshot, target, policy), wanted.values))
    await session.leftovers()
    request = await session.bot.remedies.propose(
        snapshot.host, remedy.name, params, person, incident_id=None, back_after_s=_seconds(wanted.for_)
    )
    draw_plan(session.console, request.plan)
    session.say(f"Proposed as {request.id}.")
    if session.settings.mode != "apply":
        session.say(f"oombot runs in {session.settings.mode} mode: run it by hand.")
        return 0
    if not session.agreed(f"Approve it and run it on {snapshot.host}?", yes=wanted.yes):
        session.say(f"It waits: oombot approve {request.id}, or oombot deny {request.id}")
        return 0
    async with session.acting():
        try:
            approved = await session.bot.remedies.approve(request.id, person)
        except NotApproverError as error:
            raise NotApproverError(
                f"{error} It waits for somebody else.", fix=f"oombot approve {request.id}"
            ) from error
        return await outcome(session, approved)


def filled(fields: Sequence[Field], given: Sequence[str]) -> Mapping[str, str]:
    """The form with what was typed as key=value; ConfigError names a field that there is none, or a wrong value."""
    values = {field.name: field.initial for field in fields}
    problems = []
    for word in given:
        name, sign, value = word.partition("=")
        if not sign or name not in values:
            problems.append(
                f"{word}: not a field; those are {', '.join(f'{field}=' for field in values) or 'none'}"
            )
            continue
        values[name] = value
    problems += [problem for field in fields if (problem := _wrong(field, values[field.name]))]
    if problems:
        raise ConfigError(problems)
    return values


def _wrong(field: Field, value: str) -> str:
    """Why a value does not fit its field; "" where it does, as far as the field says."""
    if not value:
        return "" if field.optional else f"{field.name}: it must be given ({_spoken(field)})"
    if field.kind == "choice" and value not in [option.value for option in field.options]:
        return f"{field.name}: not one of its choices ({_spoken(field)})"
    return ""  # numbers and texts are judged by the remedy itself


def _spoken(field: Field) -> str:
    """What can be typed for a field."""
    if field.kind == "choice":
        shown = [option.value for option in field.options[:6]]
        return "|".join(shown) + ("|…" if len(field.options) > 6 else "")
    if field.kind == "number":
        return (
            f"{'' if field.lowest is None else field.lowest}…{'' if field.highest is None else field.highest}"
        )
    return field.hint or field.label


def _draw_menu(session: Session, host: str, snapshot: HostSnapshot, target: Target) -> None:
    table = Table("remedy", "what for", "fields", title=plain(f"Remedies for {host}"))
    for name, remedy in session.bot.context.remediations.items():
        unfit = plans.unfit(remedy, snapshot, target, session.settings.policy)
        if unfit:
            table.add_row(cell(name), cell(remedy.summary), cell(f"can not work here: {unfit}"))
            continue
        fields = remedy.fields(snapshot, target, session.settings.policy)
        words = [
            f"{'[' if f.optional else ''}{f.name}={f.initial or _spoken(f)}{']' if f.optional else ''}"
            for f in fields
        ]
        table.add_row(cell(name), cell(remedy.summary), cell("  ".join(words)))
    session.console.print(table)
    session.say(f"oombot fix {host} REMEDY key=value … [--for 2h] [--unit UNIT | --pid PID]")


def _remedy(session: Session, name: str) -> Remediation:
    known = session.bot.context.remediations
    if name not in known:
        raise ConfigError([f"{name} is no remedy; those are {', '.join(known)}"])
    return known[name]


def _target(wanted: Wanted, snapshot: HostSnapshot) -> Target:
    """The process, with its start, or the unit that was named; both are checked."""
    if wanted.unit and not details.is_unit(wanted.unit):
        raise ConfigError([f"--unit {wanted.unit}: not the full name of a unit, such as api.service"])
    if wanted.pid is None:
        return Target(unit=wanted.unit)
    for process in snapshot.processes:
        if process.pid == wanted.pid:
            unit = wanted.unit or triage.workload(process.cgroup).unit or ""
            return Target(pid=process.pid, start_ticks=process.start_ticks, unit=unit)
    raise RefusedError(f"Process {wanted.pid} was not seen on {snapshot.host}. Nothing was proposed.")


def _seconds(text: str) -> int | None:
    if not text:
        return None
    seconds = duration_s(text)
    if seconds is None:
        raise ConfigError([f"--for {text}: not a time such as 30m, 2h or 1d"])
    return int(seconds)
