"""`oombot doctor`: every line with what, why and the command that fixes it, on a terminal of any width or as JSON."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from oombot import __version__
from oombot.cli.drawing import plain
from oombot.doctor import Line, State, counts, verdict
from oombot.examination import Listener, Wanted, lines

JSON_VERSION: Final = 1
_MARKS: Final[dict[State, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "wrong": ("wrong", "bold red"),
    "unknown": ("not known", "magenta"),
}
_FEW_HOSTS: Final = 3  # with more, what is ok is told as a count, and what many hosts share stands once
_NAMED: Final = 4
_NARROW: Final = 72


def doctor(wanted: Wanted, *, as_json: bool, everything: bool) -> int:
    """Look, tell, and exit 0 only when nothing is wrong (1 when something is)."""
    found = asyncio.run(_looked(wanted, quiet=as_json))
    if as_json:
        Console(soft_wrap=True).print_json(json.dumps(as_data(found, now_s=datetime.now(UTC).timestamp())))
    else:
        draw(found, Console(emoji=False, highlight=False), everything=everything)
    return 1 if verdict(found) == "wrong" else 0


async def _looked(wanted: Wanted, *, quiet: bool) -> tuple[Line, ...]:
    """Gather behind a bar on standard error, where that is a terminal."""
    console = Console(stderr=True, emoji=False, highlight=False)
    columns = (TextColumn("hosts asked"), BarColumn(bar_width=None), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def says(sentence: str) -> None:
            console.print(plain(sentence), markup=False, style="bold")

        listener = Listener(
            begins=lambda count: bar.update(task, total=count),
            done=lambda _host: bar.advance(task),
            says=says,
        )
        return await lines(wanted, listener)


def as_data(found: Sequence[Line], *, now_s: float) -> dict[str, object]:
    """The same as data; docs/doctor.md says what may change in it and what never does."""
    shown = [
        {**asdict(line), "what": plain(line.what), "why": plain(line.why), "fix": plain(line.fix)}
        for line in found
    ]
    at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds")
    head = {"version": JSON_VERSION, "oombot": __version__, "at": at, "state": verdict(found)}
    return {**head, "counts": counts(found), "lines": shown}


def draw(found: Sequence[Line], console: Console, *, everything: bool) -> None:
    """First the bot, then the hosts; the worst is said again in the last line."""
    hosts = list(dict.fromkeys(line.host for line in found if line.host is not None))
    for check, several in groupby((line for line in found if line.host is None), key=lambda line: line.check):
        _heading(console, check.replace("_", " "))
        _lines(console, list(several))
    if len(hosts) <= _FEW_HOSTS or everything:
        for host in hosts:
            _heading(console, host)
            _lines(console, [line for line in found if line.host == host])
    else:
        _folded(console, found, hosts)
    console.print(_summary(found, hosts))


def _heading(console: Console, text: str) -> None:
    console.print(Text(_flat(text), style="bold"))


def _folded(console: Console, found: Sequence[Line], hosts: Sequence[str]) -> None:
    """Many hosts: what is not ok, told once for all that share it; then who has nothing but ok."""
    shared: dict[tuple[str, str, str], list[Line]] = {}
    for line in found:
        if line.host is not None and line.state != "ok":
            key = (line.check, line.item, _impersonal(line.what, line.host))
            shared.setdefault(key, []).append(line)
    for several in shared.values():
        names = [line.host or "" for line in several]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        _heading(console, ", ".join(names[:_NAMED]) + more)
        _line(console, several[0])
    troubled = {line.host for several in shared.values() for line in several}
    fine = [host for host in hosts if host not in troubled]
    if fine:
        more = f" and {len(fine) - _NAMED} more" if len(fine) > _NAMED else ""
        _heading(console, f"{len(fine)} of {len(hosts)} hosts")
        _line(
            console, Line(item="fine", state="ok", what=f"nothing to say: {', '.join(fine[:_NAMED])}{more}")
        )


def _impersonal(what: str, host: str) -> str:
    return what.replace(host, "HOST")


def _lines(console: Console, several: Sequence[Line]) -> None:
    """Lines of one subject; where the next one has the same why and fix, they stand once, below it."""
    for line, following in zip(several, [*several[1:], None], strict=True):
        again = following is not None and (line.why, line.fix) == (following.why, following.fix)
        _line(console, replace(line, why="", fix="") if again and line.fix else line)


def _line(console: Console, line: Line) -> None:
    """The state beside its sentence; on a narrow terminal above it, so that sentences keep their width."""
    word, style = _MARKS[line.state]
    body = Text(_flat(line.what))
    if line.state != "ok" and line.why:
        body.append(f"\n{_flat(line.why)}", style="dim")
    if line.fix:
        body.append("\nfix: ", style="bold")
        body.append(_flat(line.fix), style="cyan")
    narrow = console.width < _NARROW
    indent = 4 if narrow else 12
    mark = Text(f" {word}", style=style)
    if narrow and line.state != "ok":
        console.print(mark)
        mark = Text("")
    mark.pad_right(indent - mark.cell_len)
    for part in body.wrap(console, max(20, console.width - indent)):
        part.rstrip()
        console.print(mark + part)
        mark = Text(" " * indent)


def _flat(text: str) -> str:
    return plain(text).replace("\n", " ")


def _summary(found: Sequence[Line], hosts: Sequence[str]) -> Text:
    number = counts(found)
    parts = [
        f"{number[state]} {_MARKS[state][0]}"
        for state in ("wrong", "warning", "unknown", "ok")
        if number[state]
    ]
    about = f" ({len(hosts)} host{'' if len(hosts) == 1 else 's'})" if hosts else ""
    return Text(", ".join(parts) + about, style=_MARKS[verdict(found)][1])
