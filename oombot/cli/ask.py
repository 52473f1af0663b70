"""`oombot ask`: the triage answer on a terminal or as JSON, without Slack."""

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from oombot import app, triage
from oombot.cli import offline
from oombot.cli.drawing import cell, plain, when
from oombot.cli.fleet import ask_fleet
from oombot.config import Settings
from oombot.engine.answers import Question, question
from oombot.errors import HostError

SYMBOLS = {
    "oom": "[bold red]OOM[/]",
    "not_oom": "[bold green]not OOM[/]",
    "unknown": "[bold yellow]unknown[/]",
}


def ask(text: str, *, config: Path, as_json: bool) -> int:
    """Ask and draw; exit 0 when the host was read, 1 when it could not be asked (what is stored is shown).

    A pattern asks every host that it means.
    """
    settings = app.load_settings(config)
    asked = question(text)
    selection = settings.selection(asked.host)
    if not selection.plain:
        return asyncio.run(ask_fleet(settings, asked, selection, as_json=as_json))
    asked = replace(asked, host=selection.names[0])
    diagnosis, matches, problem, fix = asyncio.run(_ask(asked, settings))
    if as_json:
        Console(soft_wrap=True).print_json(json.dumps(_as_data(diagnosis, matches, problem)), highlight=False)
    elif matches:
        _draw_matches(matches)
    else:
        _draw(diagnosis)
    if problem:
        Console(stderr=True, emoji=False, highlight=False, markup=False).print(
            plain(f"oombot: {problem}\nfix: {fix or 'see above'}")
        )
    return 1 if problem else 0


async def _ask(
    asked: Question, settings: Settings
) -> tuple[triage.Diagnosis, tuple[triage.Match, ...], str, str]:
    async with offline.asking(settings) as bot:
        try:
            snapshot = await bot.readings.now(asked.host, asked=True)
        except HostError as error:
            last = await bot.readings.last(asked.host)
            problem, fix = str(error), error.fix
            diagnosis = await bot.answers.diagnose(asked, last, stale=True, problem=problem, fix=fix)
            return diagnosis, (), problem, fix
        matches = bot.answers.matches(asked, snapshot)
        several = matches if len(matches) > 1 else ()
        return await bot.answers.diagnose(asked, snapshot), several, "", ""


def _as_data(
    diagnosis: triage.Diagnosis, matches: tuple[triage.Match, ...], problem: str
) -> dict[str, object]:
    listed = [{"ask": match.ask, "label": match.label, "details": match.details} for match in matches]
    return {**asdict(diagnosis), "matches": listed, "problem": problem}


def _draw_matches(matches: tuple[triage.Match, ...]) -> None:
    table = Table("ask for", "what", "details", title="Several match; ask for one of them")
    for match in matches:
        table.add_row(cell(match.ask), cell(match.label), cell(match.details))
    Console(emoji=False, highlight=False).print(table)


def _draw(diagnosis: triage.Diagnosis) -> None:
    console = Console(emoji=False, highlight=False)
    console.print(SYMBOLS[diagnosis.answer], end="  ")
    for line in (diagnosis.verdict, diagnosis.reason, diagnosis.stale, diagnosis.now):
        if line:
            console.print(plain(line), markup=False)
    if diagnosis.answer == "unknown" and diagnosis.fix:
        console.print(plain(f"fix: {diagnosis.fix}"), markup=False)
    _draw_lists(console, diagnosis)
    for problem in diagnosis.problems:
        console.print(plain(f"not read: {problem}"), markup=False, style="yellow")


def _draw_lists(console: Console, diagnosis: triage.Diagnosis) -> None:
    if diagnosis.kills:
        table = Table("when", "kill", title=f"Kills {diagnosis.span}: {diagnosis.kill_count}")
        for kill in diagnosis.kills:
            table.add_row(cell(when(kill.time_s, approximate=kill.time_approximate)), cell(kill.text))
        console.print(table)
    if diagnosis.target is not None:
        table = Table("field", "value", title=cell(diagnosis.target.label))
        for name, value in diagnosis.target.facts:
            table.add_row(cell(name), cell(value))
        console.print(table)
    if diagnosis.memory is not None:
        memory = diagnosis.memory
        table = Table("", "total", "used", "free", "shared", "buff/cache", "available", title="Memory")
        parts = (memory.total, memory.used, memory.free, memory.shared, memory.buff_cache, memory.available)
        table.add_row("Mem", *(cell(part) for part in parts))
        table.add_row(
            "Swap", *(cell(part) for part in (memory.swap_total, memory.swap_used, memory.swap_free))
        )
        console.print(table)
    if diagnosis.taken_s is not None:  # an empty table would claim that there are no processes
        _draw_processes(console, diagnosis)
    if diagnosis.incomplete:
        console.print(plain(diagnosis.incomplete), markup=False, style="yellow")


def _draw_processes(console: Console, diagnosis: triage.Diagnosis) -> None:
    table = Table("pid", "command", "%mem", "rss", "swap", "unit", title="Largest processes")
    for row in diagnosis.consumers:
        percent = f"{row.memory_percent:.1f}" if diagnosis.memory and diagnosis.memory.total_kb else None
        table.add_row(*(cell(part) for part in (row.pid, row.comm, percent, row.rss, row.swap, row.unit)))
    console.print(table)
    table = Table("pid", "command", "oom_score", "adj", "made of", "unit", title="Highest OOM scores")
    for score in diagnosis.scores:
        parts_ = (score.pid, score.comm, score.shown, score.adj, score.parts, score.unit)
        table.add_row(*(cell(part) for part in parts_))
    console.print(table)
    console.print(plain(diagnosis.scores_note), markup=False, style="dim")
