"""`oombot explain`: a log file in, its kills out: as a verdict, a table and bars, or as JSON."""

import json
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oombot.cli.drawing import cell, plain
from oombot.model import OomKill
from oombot.reading import Explanation
from oombot.reading import explain as read
from oombot.triage.amounts import size

FIELDS = (
    "killer",
    "pid",
    "comm",
    "uid",
    "total_vm_kb",
    "anon_rss_kb",
    "file_rss_kb",
    "shmem_rss_kb",
    "pgtables_kb",
    "oom_score_adj",
    "scope",
    "constraint",
    "oom_memcg",
    "task_memcg",
    "invoker",
    "oom_group",
    "evidence",
)
_BAR_WIDTH, _BARS = 40, 6


def explain(file: str, *, as_json: bool) -> int:
    """Explain one file, or standard input for `-`; exit 0 with kills or without, 2 where it can not be read."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        sys.stderr.write(f"oombot: {plain(file)} can not be read: {plain(reason)}.\n".replace("\0", " "))
        return 2
    explanation = read(data)
    if as_json:
        sys.stdout.write(json.dumps(as_data(explanation), indent=2) + "\n")
    else:
        draw(explanation, Console(emoji=False, highlight=False))
    return 0


def as_data(explanation: Explanation) -> dict[str, object]:
    """The explanation as JSON values: null where the log does not say."""
    return {
        "kills": [
            {name: getattr(kill, name) for name in FIELDS} | {"time": _iso(kill.time_s)}
            for kill in explanation.kills
        ],
        "forms": list(explanation.forms),
        "hidden_kills": explanation.hidden_kills,
        "lines": explanation.lines,
        "traces": explanation.traces,
    }


def verdict(explanation: Explanation) -> str:
    """One sentence: who died, where, and what ran out."""
    kills = explanation.kills
    if not kills and (explanation.traces or explanation.hidden_kills):
        return (
            "The kernel's OOM killer ran, but this log does not name what it killed, if anything: "
            "lines may be missing."
        )
    if not kills:
        return "This log shows no kill by the kernel's OOM killer."
    last = kills[-1]
    sentence = f"The kernel killed {last.comm} (pid {last.pid}): {_cause(last)}."
    return sentence if len(kills) == 1 else f"{len(kills)} kills. Last: {sentence}"


def _cause(kill: OomKill) -> str:
    if kill.scope == "memcg":
        limit = f" of {size(kill.memory_limit_kb)}" if kill.memory_limit_kb is not None else ""
        return f"{kill.oom_memcg or 'a cgroup'} reached its memory limit{limit}"
    if kill.constraint == "CONSTRAINT_CPUSET":
        return "the memory nodes of its cpuset ran out of memory"
    if kill.constraint == "CONSTRAINT_MEMORY_POLICY":
        return "the memory nodes of its NUMA policy ran out of memory"
    return "the host ran out of memory" if kill.scope == "global" else "the log does not say what ran out"


def draw(explanation: Explanation, console: Console) -> None:
    """Draw it all; every string of the log is made harmless."""
    console.print(plain(verdict(explanation)).replace("\n", " "), markup=False, style="bold")
    if explanation.hidden_kills:
        console.print(
            f"{explanation.hidden_kills} more kill(s) are hidden: this log shows their lines as blob data. "
            "Ask for it with: journalctl -o json _TRANSPORT=kernel",
            markup=False,
            style="yellow",
        )
    if explanation.kills:
        console.print(_table(explanation.kills))
        _draw_bars(explanation.kills[-1], console)
    console.print(
        f"read {explanation.lines} lines as {', '.join(explanation.forms) or 'nothing'}", style="dim"
    )


def _table(kills: tuple[OomKill, ...]) -> Table:
    table = Table(
        "time", "pid", "process", "uid", "resident", "adj", "scope", "cgroup at its limit", "invoker"
    )
    for kill in kills:
        parts = [kill.anon_rss_kb, kill.file_rss_kb, kill.shmem_rss_kb]
        known = [part for part in parts if part is not None]
        table.add_row(
            cell(_when(kill)),
            cell(kill.pid),
            cell(kill.comm),
            cell(kill.uid),
            cell(size(sum(known)) if known else None),
            cell(kill.oom_score_adj),
            cell(kill.scope),
            cell(kill.oom_memcg),
            cell(kill.invoker),
        )
    return table


def _draw_bars(kill: OomKill, console: Console) -> None:
    """Where memory went, by process name: from the report's own task table, of one process one row."""
    held: Counter[str] = Counter()
    for task in {task.tgid: task for task in kill.tasks}.values():
        held[task.name] += (task.rss_kb or 0) + (task.swap_kb or 0)
    whole = kill.memory_limit_kb if kill.scope == "memcg" else kill.ram_kb
    whole = max(whole or 0, sum(held.values()))
    if not whole or not held:
        return
    table = Table("process name", "held", "", title="Who held memory", box=None, title_justify="left")
    for name, kb in held.most_common(_BARS):
        table.add_row(
            cell(name), cell(size(kb)), Text("█" * max(1, round(_BAR_WIDTH * kb / whole)), style="red")
        )
    console.print(table)


def _when(kill: OomKill) -> str | None:
    if kill.time_s is not None:
        return (_iso(float(int(kill.time_s))) or "").replace("T", " ").replace("+00:00", "Z")
    return None if kill.mono_s is None else f"boot + {kill.mono_s:.3f} s"


def _iso(time_s: float | None) -> str | None:
    try:
        return None if time_s is None else datetime.fromtimestamp(time_s, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
