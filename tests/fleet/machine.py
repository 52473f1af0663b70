"""One host of the simulated fleet: what it answers to the bot's scripts, and what its kernel log holds."""

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path

REPORT = Path(__file__).parent.parent / "oom_report" / "5.4-global-oom-adj.log"  # a real one
VICTIM, VICTIM_PID, VICTIM_RSS_KB = "a) total-vm:9k", "190", "135636"
BOOTED_AGO_S = 90_000.0
ROWS = 60  # processes that every host has besides its victims

# (text behind the stamp, microseconds after the first line)
_LINES = [line.split("] ", 1) for line in REPORT.read_text().splitlines()]
_FIRST_S = float(_LINES[0][0].lstrip("[ "))
TEMPLATE = [(text, int((float(stamp.lstrip("[ ")) - _FIRST_S) * 1e6)) for stamp, text in _LINES]

_UNIT = (
    "Id={name}.service\nActiveState=active\nSubState=running\nResult=success\nNRestarts=0\nRestart=on-failure\n"
    "ExecMainStatus=0\nExecMainCode=0\nMainPID={pid}\nControlGroup=/system.slice/{name}.service\n"
    "StateChangeTimestamp=@{since}\nStateChangeTimestampMonotonic=9000000\n"
)


class Machine:
    """A host in memory: a boot, a journal, a counter of kills; `listeners` get each new line of the journal."""

    __slots__ = ("boot_id", "booted_s", "journal", "journal_id", "listeners", "name", "number", "pid")

    def __init__(self, number: int) -> None:
        """Boot it a day ago."""
        self.number, self.name = number, f"host-{number:04}"
        self.boot_id, self.journal_id = str(uuid.uuid4()), uuid.uuid4().hex
        self.booted_s = time.time() - BOOTED_AGO_S
        self.pid = 1000  # of the next victim
        self.journal: list[tuple[int, str]] = []  # (microseconds since boot, text); the kills of this boot
        self.listeners: list[Callable[[bytes], None]] = []

    def kill(self, comm: str) -> dict[str, object]:
        """Print a real report of one killed process; say which it was, as a test wants to find it."""
        now_us = int((time.time() - self.booted_s) * 1e6)
        self.pid, rss_kb = self.pid + 1, 100_000 + self.number
        said = {VICTIM: comm, VICTIM_RSS_KB: str(rss_kb)}
        first = len(self.journal)
        for text, after_us in TEMPLATE:
            self.journal.append((now_us + after_us, _as_victim(text, said, self.pid)))
        for at in range(first, len(self.journal)):
            for listener in tuple(self.listeners):
                listener(self.record(at))
        return {"host": self.name, "pid": self.pid, "comm": comm, "anon_rss_kb": rss_kb}

    @property
    def kills(self) -> int:
        """The counter in /proc/vmstat."""
        return len(self.journal) // len(TEMPLATE)

    @property
    def mark(self) -> str:
        """The line that every log of a host begins with."""
        now_s = time.time()
        return f"@@boot {self.boot_id} {now_s - self.booted_s:.2f} {now_s:.0f} +0000"

    def record(self, at: int) -> bytes:
        """One journal entry as `journalctl -o json` shows it; -1 is the first line of the boot."""
        us, text = (
            self.journal[at]
            if at >= 0
            else (0, "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org)")
        )
        real_us = int(self.booted_s * 1e6) + us
        fields = {
            "__CURSOR": self.cursor(at),
            "__REALTIME_TIMESTAMP": str(real_us),
            "__MONOTONIC_TIMESTAMP": str(us),
            "_BOOT_ID": self.boot_id.replace("-", ""),
            "_MACHINE_ID": self.journal_id,
            "_HOSTNAME": self.name,
            "_TRANSPORT": "kernel",
            "SYSLOG_FACILITY": "0",
            "SYSLOG_IDENTIFIER": "kernel",
            "PRIORITY": "4",
            "_SOURCE_MONOTONIC_TIMESTAMP": str(us),
            "MESSAGE": text,
        }
        return json.dumps(fields).encode() + b"\n"

    def cursor(self, at: int) -> str:
        """The journal's name for an entry, in systemd's form."""
        return f"s={self.journal_id};i={at + 2:x};b={self.boot_id.replace('-', '')};m=1;t=1;x=1"

    def history(self, cursor: str) -> bytes:
        """Everything from the cursor on, itself included; all that there is where the cursor is not ours."""
        known = [at for at in range(-1, len(self.journal)) if self.cursor(at) == cursor]
        return b"".join(self.record(at) for at in range(known[0] if known else -1, len(self.journal)))

    def reading(self) -> bytes:
        """The answer to the read script, in its own form and with this host's own numbers."""
        now_s, total_kb = time.time(), 8_000_000 + self.number * 1000
        units = "\n".join(
            _UNIT.format(name=f"app{row:02}", pid=200 + row, since=int(self.booted_s) + 9)
            for row in range(20)
        )
        said = (
            f"@@host\nboot_id {self.boot_id}\nuptime {now_s - self.booted_s:.2f}\nnow {now_s:.0f}\n"
            f"kernel 6.1.0-28-amd64\npage 4096\nuid 990\nself 5000\npython yes\nsystemd yes\n"
            f"@@meminfo\nMemTotal:       {total_kb} kB\nMemFree:        {total_kb // 4} kB\n"
            f"MemAvailable:   {total_kb // 2} kB\nSwapTotal:      0 kB\nSwapFree:       0 kB\n"
            f"CommitLimit:    {total_kb // 2} kB\nCommitted_AS:   {total_kb // 3} kB\nPageTables:     20000 kB\n"
            "@@swaps\nFilename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
            f"@@pressure\nsome {_CALM}\nfull {_CALM}\n"
            f"@@vmstat\noom_kill {self.kills}\n"
            f"@@processes\n{self._table()}\n@@cgroups\nroot /sys/fs/cgroup\n{_CGROUPS}\n"
            f"@@units\n{units}\n@@sudo\nsudo no\n@@log_source\nsource journald\noldest "
        )
        log = b"".join(self.record(at) for at in range(len(self.journal)))
        return said.encode() + self.record(-1) + b"@@log\n" + self.mark.encode() + b"\n" + log + b"@@end\n"

    def _table(self) -> str:
        rows = ["p 1 2 0 0 0 168000 9000 9000 0 0 120 0 0\nn systemd\ng /init.scope"]
        return "\n".join(rows + [self._row(row) for row in range(ROWS)])

    def _row(self, row: int) -> str:
        """One process: row and number of the host decide what it takes."""
        sizes = f"{900_000 + row * 1000 + self.number} {40_000 + row * 1500 + self.number} 8120 0 0 400"
        name, unit = f"app{row:02}", f"app{row % 20:02}.service"
        return f"p {200 + row} {900 + row} 1 {1000 + row % 5} 0 {sizes} {10 + row} 0\nn {name}\ng /system.slice/{unit}"


_CALM = "avg10=0.00 avg60=0.00 avg300=0.00 total=0"
_CGROUPS = "\n".join(
    f"/sys/fs/cgroup/system.slice/app{row:02}.service/memory.{file}"
    for row in range(20)
    for file in ("max:max", "current:104857600", "swap.max:max", "events:oom_kill 0")
)


def _as_victim(text: str, said: dict[str, str], pid: int) -> str:
    """The line about another victim: its pid in each of the forms in which the kernel prints it."""
    for old, new in said.items():
        text = text.replace(old, new)
    for form in (" PID: {} ", "[{:>7}]", ",pid={},", " process {} ("):
        text = text.replace(form.format(VICTIM_PID), form.format(pid))
    return text.replace(f"]     0   {VICTIM_PID} ", f"]     0  {pid} ")
