"""A whole log at once: its kills, the transports it came by, and the kills that it hides."""

import re
from dataclasses import dataclass

from oombot.framing import Framing
from oombot.model import OomKill
from oombot.oom_report import OomReportParser
from oombot.sameness import merged

# journalctl's text output of a message with an unprintable byte: "[161B blob data]"
_BLOB = re.compile(r"\[[0-9.]{1,8}[KMG]?B? blob data\]")
_OPENS = ("Tasks state (memory values", "memory: usage ", "[ pid ]", "[  pid  ]")
_TRACES = (" invoked oom-killer: ", " killed as a result of limit of ", "oom_reaper: reaped process ")
_ENDS = ("no killable processes", "Kernel panic - not syncing", "Killed process ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a log says; `hidden_kills` are reports whose last lines the log shows only as blob data.

    `traces` are lines that the kernel prints only when it runs its OOM killer, whether or not the log names a victim.
    """

    kills: tuple[OomKill, ...]
    forms: tuple[str, ...]
    hidden_kills: int
    hidden_lines: int
    lines: int
    traces: int


class _Hidden:
    """Counts the reports that end in lines which the log does not show."""

    def __init__(self) -> None:
        self.kills = self.lines = 0
        self._open = self._blob = False

    def feed(self, text: str) -> None:
        if _BLOB.fullmatch(text.strip()):
            self.lines += 1
            self._blob = self._open
        elif any(word in text for word in _ENDS):
            self._open = self._blob = False
        elif " invoked oom-killer: " in text or text.startswith("memory: usage "):
            self.end()
            self._open = True
        elif text.startswith(_OPENS):
            self._open = True

    def end(self) -> None:
        self.kills += self._blob
        self._open = self._blob = False


def explain(data: bytes, *, year: int | None = None) -> Explanation:
    """Read a log file, whatever its transport; `year` is that of stamps that name none."""
    framing, parser, hidden = Framing(year=year), OomReportParser(), _Hidden()
    kills: list[OomKill] = []
    traces = 0
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for line in lines:
        entry = framing.feed(line)
        if entry is None or entry.kernel is False:
            continue
        hidden.feed(entry.text)
        traces += any(word in entry.text for word in _TRACES)
        kills += parser.feed(entry)
    kills += parser.close()
    hidden.end()
    return Explanation(
        kills=tuple(merged(kills)),
        forms=framing.forms,
        hidden_kills=hidden.kills,
        hidden_lines=hidden.lines,
        lines=len(lines),
        traces=traces,
    )
