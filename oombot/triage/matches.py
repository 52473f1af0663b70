"""What a person may mean by a word after the host: a PID, a process name or a unit."""

from dataclasses import dataclass
from typing import Literal

from oombot.model import HostSnapshot, Process, Unit
from oombot.triage.amounts import size
from oombot.triage.machine import holder

_PID_DIGITS = 10
_COMM_BYTES = 15  # TASK_COMM_LEN without its NUL (include/linux/sched.h)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One candidate: a process, or a unit with its main process where that runs."""

    kind: Literal["process", "unit"]
    process: Process | None = None
    unit: Unit | None = None

    @property
    def label(self) -> str:
        """Name it so that two candidates differ: `nginx (pid 4242)`, `nginx.service`."""
        if self.unit is not None:
            return self.unit.name
        assert self.process is not None
        return f"{self.process.comm} (pid {self.process.pid})"

    @property
    def ask(self) -> str:
        """Give the word that means this candidate and no other."""
        return self.unit.name if self.unit is not None else str(self.process.pid if self.process else "")

    @property
    def details(self) -> str:
        """Say what tells it from its namesakes: memory, score adjustment, unit, state."""
        if self.unit is not None:
            return f"{self.unit.active_state} ({self.unit.sub_state})"
        assert self.process is not None
        owner = holder(self.process)
        return f"{size(self.process.rss_kb)}, adj {self.process.oom_score_adj}" + (
            f", in {owner}" if owner else ""
        )


def find(snapshot: HostSnapshot, text: str) -> tuple[Match, ...]:
    """List everything that the word names; processes that a named unit owns are not listed beside it."""
    word = text.strip()
    if not word:
        return ()
    pid = asked_pid(word)
    if pid is not None:
        pids = [process for process in snapshot.processes if process.pid == pid]
        if pids:
            return tuple(Match(kind="process", process=process) for process in pids)
    units = [unit for unit in snapshot.units if _is_unit(unit, word)]
    owned = tuple(unit.control_group for unit in units if unit.control_group.strip("/"))
    processes = [p for p in snapshot.processes if _is_named(p, word) and not _within(p.cgroup, owned)]
    by_pid = {process.pid: process for process in snapshot.processes}
    return (
        *(Match(kind="unit", unit=unit, process=by_pid.get(unit.main_pid or 0)) for unit in units),
        *(Match(kind="process", process=process) for process in sorted(processes, key=_largest_first)),
    )


def asked_pid(word: str) -> int | None:
    """Read the word as a pid; None for anything else."""
    return int(word) if word.strip().isdecimal() and len(word) <= _PID_DIGITS else None


def _is_unit(unit: Unit, word: str) -> bool:
    """Whether the word is the unit's name, with or without `.service`."""
    return unit.name in (word, f"{word}.service")


def _is_named(process: Process, word: str) -> bool:
    """Whether the word is the process's name: all of it, cut as the kernel cuts it, or the part before a colon."""
    cut = word.encode()[:_COMM_BYTES].decode(errors="ignore")
    return process.comm in (word, cut) or process.comm.split(":")[0] == word


def _within(path: str | None, groups: tuple[str, ...]) -> bool:
    """Whether a cgroup path lies in one of these groups."""
    return path is not None and any(path == group or path.startswith(f"{group}/") for group in groups)


def _largest_first(process: Process) -> tuple[int, int]:
    """Order namesakes by memory, then by pid."""
    return -(process.rss_kb or 0), process.pid
