"""The process or unit a person asked about: its score, memory and what systemd says."""

from collections.abc import Sequence
from dataclasses import dataclass

from oombot import badness
from oombot.model import HostSnapshot, OomKill, Process, Unit
from oombot.triage.amounts import size
from oombot.triage.machine import holder, incomplete
from oombot.triage.matches import Match, asked_pid
from oombot.triage.prospects import is_later
from oombot.triage.scores import score_line
from oombot.triage.services import find_unit, how_it_ended, unit_now
from oombot.triage.workloads import workload

_WELL = ("success", "")
_TICKS = 100  # USER_HZ: what start_ticks counts in a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was asked about: `facts` are name and value, `now` a sentence about its unit.

    `ended` says how the unit's main process last ended, when that was not well; None otherwise.
    """

    label: str
    facts: tuple[tuple[str, str], ...]
    now: str
    ended: str | None
    blames_oom: bool
    pid: int | None = None
    start_ticks: int | None = None


def describe(match: Match, snapshot: HostSnapshot, kills: Sequence[OomKill] = ()) -> Target:
    """Put together what the host says about a match; `kills` are those of it, with the newest first."""
    process, unit = match.process, match.unit
    if unit is None and process is not None:
        unit = find_unit(snapshot, workload(process.cgroup).unit)
    now_s = snapshot.taken_s if snapshot.now_s is None else snapshot.now_s
    asked_unit = match.unit is not None
    mine = (k for k in kills if unit is not None and workload(k.task_memcg).unit == unit.name)
    last = next((kill for kill in mine if is_later(snapshot, kill)), None)
    since_s = None if last is None else last.time_s
    return Target(
        label=match.label,
        facts=(*_process_facts(process, snapshot), *_unit_facts(unit)),
        now="" if unit is None else unit_now(unit, since_s=since_s, now_s=now_s),
        ended=how_it_ended(unit) if asked_unit and unit is not None and unit.result not in _WELL else None,
        blames_oom=asked_unit and unit is not None and unit.result == "oom-kill",
        pid=None if process is None else process.pid,
        start_ticks=None if process is None else process.start_ticks,
    )


def now_another(kill: OomKill, snapshot: HostSnapshot) -> Process | None:
    """Find the process that has the dead one's pid now, where it is certainly another one."""
    process = next((row for row in snapshot.processes if row.pid == kill.pid), None)
    if process is None or not is_later(snapshot, kill):
        return None
    rebooted = bool(kill.boot_id and snapshot.boot_id and kill.boot_id != snapshot.boot_id)
    renamed = not process.comm.startswith(kill.comm)  # a kill line may have been cut within the name
    younger = kill.mono_s is not None and process.start_ticks / _TICKS > kill.mono_s + 1
    return process if rebooted or renamed or younger else None


def concerned(kills: Sequence[OomKill], match: Match | None, asked: str) -> list[OomKill]:
    """Pick the kills of what was asked about; a pid means the process that had it, before any namesakes."""
    pid = None if match is not None and match.unit is not None else asked_pid(asked)
    exact = [kill for kill in kills if kill.pid == pid]
    return exact or [kill for kill in kills if concerns(kill, match, asked)]


def concerns(kill: OomKill, match: Match | None, asked: str) -> bool:
    """Whether a kill is one of what was asked about; everything is, when nothing was named."""
    place = workload(kill.task_memcg)
    if match is not None and match.unit is not None:
        return place.unit == match.unit.name
    if match is not None and match.process is not None:
        home = workload(match.process.cgroup)
        apart = home.kind == place.kind == "unit" and home.name != place.name
        return kill.comm == match.process.comm and not (apart and asked_pid(asked) is not None)
    word = asked.strip()
    if not word:
        return True
    names = (kill.comm, str(kill.pid), place.name, place.name.removesuffix(".service"))
    return word in names or word.removesuffix(".service") in names


def _process_facts(process: Process | None, snapshot: HostSnapshot) -> tuple[tuple[str, str], ...]:
    """List score, adjustment and memory of a process."""
    if process is None:
        why = incomplete(snapshot)
        return (("process", f"not known: {why}" if why else "none running"),)
    line = score_line(process, snapshot, badness.scale(snapshot))
    facts = [
        ("process", f"{process.comm} (pid {process.pid})"),
        ("oom_score", f"{'?' if line.shown is None else line.shown} {line.parts}"),
        ("oom_score_adj", "?" if process.oom_score_adj is None else str(process.oom_score_adj)),
        ("RSS", _split(process)),
        ("swap", size(process.swap_kb)),
    ]
    owner = holder(process)
    if owner:
        facts.append(("lives in", owner))
    capped = badness.capped_cgroup(snapshot, process)
    if capped is not None:
        facts.append(("nearest limit", f"{size(capped.limit_kb)}, {size(capped.usage_kb)} used"))
    return tuple(facts)


def _unit_facts(unit: Unit | None) -> tuple[tuple[str, str], ...]:
    """List what systemd says of the unit, under systemd's names."""
    if unit is None:
        return ()
    said = (
        ("unit", unit.name),
        ("ActiveState", f"{unit.active_state} ({unit.sub_state})"),
        ("Result", unit.result),
        ("ExecMainStatus", "?" if unit.exec_main_status is None else str(unit.exec_main_status)),
        ("NRestarts", "?" if unit.n_restarts is None else str(unit.n_restarts)),
        ("Restart", unit.restart),
    )
    return tuple((name, value or "?") for name, value in said)


def _split(process: Process) -> str:
    """Write RSS with its parts."""
    anon, file, shmem = (size(p) for p in (process.rss_anon_kb, process.rss_file_kb, process.rss_shmem_kb))
    return f"{size(process.rss_kb)} (anon {anon}, file {file}, shmem {shmem})"
