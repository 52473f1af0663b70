"""`oombot ask PATTERN`: many hosts, with a progress bar while they answer and tables at the end, or as JSON."""

import json
from contextlib import aclosing
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from oombot import triage
from oombot.cli import offline
from oombot.cli.drawing import cell, plain, when
from oombot.config import Settings
from oombot.engine.answers import Question
from oombot.engine.fleet import survey_of
from oombot.errors import RefusedError
from oombot.inventory.roster import Selection


async def ask_fleet(settings: Settings, asked: Question, selection: Selection, *, as_json: bool) -> int:
    """Ask and draw; exit 0 when every host was read, 1 when one could not be (what is stored of it is shown)."""
    if asked.target:
        fix = f"oombot ask HOST {asked.target}"
        raise RefusedError("A process or a unit is asked of one host; nothing was asked.", fix=fix)
    survey = survey_of(selection, asked.since_s, settings.since_s)
    errors = Console(stderr=True, emoji=False, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    seen: list[triage.Seen] = []
    async with offline.asking(settings) as bot:
        begun_s = bot.context.clock()
        with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
            bar = progress.add_task("asking", total=len(selection.names))
            async with aclosing(bot.fleet.ask(survey)) as hosts:
                async for one in hosts:
                    seen.append(one)
                    progress.advance(bar)
        took_s = bot.context.clock() - begun_s
    view = triage.overview(
        selection.pattern,
        selection.names,
        {one.host: one for one in seen},
        phase="done",
        span_s=survey.span_s,
        took_s=took_s,
        missing=selection.missing,
        command=survey.command,
    )
    if as_json:
        data = _as_data(view, triage.ranked(seen), selection)
        Console(soft_wrap=True).print_json(json.dumps(data), highlight=False)
    else:
        _draw(Console(emoji=False, highlight=False), view, triage.ranked(seen), selection)
    return 1 if view.failed else 0


def _as_data(view: triage.Overview, seen: list[triage.Seen], selection: Selection) -> dict[str, object]:
    """Everything, in the order of the ranking; nothing is cut."""
    return {
        "pattern": view.pattern,
        "span": view.span,
        "total": view.total,
        "answered": view.answered,
        "failed": view.failed,
        "kills": view.kills,
        "killed_hosts": view.killed_hosts,
        "missing": list(selection.missing),
        "took_s": round(view.took_s, 3),
        "hosts": [{"answered": one.answered, **asdict(one)} for one in seen],
    }


def _draw(console: Console, view: triage.Overview, seen: list[triage.Seen], selection: Selection) -> None:
    console.print(plain(view.headline), markup=False, style="bold")
    answered = [one for one in seen if one.answered or one.kills]
    if answered:
        table = Table("host", "kills", "last kill", "taken", "state", title=f"Hosts, kills {view.span}")
        for one in answered:
            last = when(one.last_s, approximate=one.last_approximate)
            kill = f"{last or 'at an unknown time'}: {one.last}" if one.kills else None
            state = one.state if one.answered else "could not be asked; the kills are on record"
            taken = None if one.percent is None else f"{one.percent} %"
            table.add_row(*(cell(part) for part in (one.host, _kills(one), kill, taken, state)))
        console.print(table)
    _draw_reasons(console, "Could not be asked", [(one, one.reason) for one in seen if not one.answered])
    _draw_reasons(
        console,
        "Not certain (counts with a ?): there may be kills that nobody saw",
        [(one, one.doubt) for one in seen if one.doubt],
    )
    if selection.missing:
        absent = ", ".join(selection.missing)
        console.print(
            plain(f"in the range, but no hosts of the configuration: {absent}"), markup=False, style="yellow"
        )
    console.print(plain(f"{view.progress}, took {view.took}"), markup=False, style="dim")


def _kills(one: triage.Seen) -> str:
    return f"{one.kills}?" if one.doubt or not one.answered else str(one.kills)


def _draw_reasons(console: Console, title: str, reasons: list[tuple[triage.Seen, str]]) -> None:
    if not reasons:
        return
    table = Table("host", "why", "fix", title=title)
    for one, text in reasons:
        table.add_row(cell(one.host), cell(text), cell(one.fix))
    console.print(table)
