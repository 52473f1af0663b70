"""Whose memory ran out: the victim's own cgroup, one above it, some NUMA nodes, or the host."""

import re
from dataclasses import dataclass
from typing import Literal

from oombot.model import OomKill, Task
from oombot.triage.amounts import plural, size
from oombot.triage.workloads import Workload, workload

Level = Literal["own", "ancestor", "some", "host", "nodes", "asked", "unknown"]

_SYSRQ = re.compile(r"invoked oom-killer:.*\border=-1\b")  # moom_callback(): a person or a watchdog asked
_NEVER = -1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The level at which memory ran out; `owner` is the cgroup of the limit, where it was one."""

    level: Level
    owner: Workload
    victim: Workload


def limit_of(kill: OomKill) -> Limit:
    """Read the level from constraint, oom_memcg and task_memcg."""
    return Limit(level=_level(kill), owner=workload(kill.oom_memcg), victim=workload(kill.task_memcg))


def _level(kill: OomKill) -> Level:
    if _SYSRQ.search(kill.report):
        return "asked"
    if kill.constraint in ("CONSTRAINT_CPUSET", "CONSTRAINT_MEMORY_POLICY"):
        return "nodes"
    if kill.scope == "global":
        return "host"
    if kill.scope != "memcg":
        return "unknown"
    if kill.oom_memcg is None:
        return "some"
    ancestor = kill.task_memcg is not None and kill.task_memcg.rstrip("/") != kill.oom_memcg.rstrip("/")
    return "ancestor" if ancestor else "own"


def reason(kill: OomKill, limit: Limit) -> str:
    """Say in one clause what ran out."""
    of_limit = "" if kill.memory_limit_kb is None else f" of {size(kill.memory_limit_kb)}"
    if limit.level == "own":
        return f"{limit.owner.label} hit its own memory limit{of_limit}"
    if limit.level == "ancestor":
        above = f"the level above, {limit.owner.label}," if limit.victim.kind != "none" else limit.owner.label
        return f"{above} hit its memory limit{of_limit} (not {limit.victim.short} itself)"
    if limit.level == "some":
        return "a memory cgroup hit its limit; the log does not say which"
    if limit.level == "nodes":
        return "the NUMA nodes it may use ran out of memory, others may have some"
    if limit.level == "asked":
        return "somebody asked for an OOM kill by SysRq-f; memory need not have run out"
    if limit.level == "host":
        ram = "" if kill.ram_kb is None else f" ({size(kill.ram_kb)} RAM)"
        return f"the host ran out of memory{ram}"
    return "the log does not say whether the host or a cgroup ran out of memory"


def swap_state(kill: OomKill) -> str:
    """Say what swap was doing at the kill: none, full, or mostly free; nothing where the report is silent."""
    total, free = kill.swap_total_kb, kill.swap_free_kb
    if total is None:
        return ""
    if total == 0:
        return "there is no swap"
    if free is None:
        return ""
    if free * 20 <= total:
        return f"swap was full ({size(total)})"
    if free * 2 >= total:
        return f"swap was mostly free ({size(free)} of {size(total)})"
    return f"swap had {size(free)} of {size(total)} free"


def held_kb(task: Task) -> int:
    """Sum what the kernel counts against a task: RSS, swap and page tables."""
    return (task.rss_kb or 0) + (task.swap_kb or 0) + (task.pgtables_kb or 0)


def largest_first(kill: OomKill) -> list[Task]:
    """Order the report's tasks by what they held, one per process."""
    by_tgid = {task.tgid: task for task in kill.tasks}
    return sorted(by_tgid.values(), key=held_kb, reverse=True)


def victim_row(kill: OomKill) -> Task | None:
    """Find the victim in the report's task table, by pid or tgid."""
    return next((task for task in kill.tasks if kill.pid in (task.pid, task.tgid)), None)


def culprit(kill: OomKill) -> Task | None:
    """Find the process that held more than the victim, if there was one (a tenth more: the table is older)."""
    victim = victim_row(kill)
    if victim is None:
        return None
    first = largest_first(kill)[0]
    return first if first.tgid != victim.tgid and held_kb(first) > 1.1 * held_kb(victim) else None


def choice(kill: OomKill) -> str:
    """Say why the kernel took this process and not another."""
    if kill.oom_group:
        return f"Everything in {workload(kill.oom_group).label} was killed together (memory.oom.group)."
    victim, bigger = victim_row(kill), culprit(kill)
    if victim is None:
        return ""
    if bigger is None:
        return _as_largest(kill, victim) + _crowd(kill, victim)
    other = (
        f"{bigger.name} (pid {bigger.tgid}) held {size(held_kb(bigger))} against its {size(held_kb(victim))}"
    )
    return f"Not the largest: {other}. {_why_not(bigger, victim)}" + _crowd(kill, victim)


def _as_largest(kill: OomKill, victim: Task) -> str:
    """Say how the victim stood out, or that it was alone."""
    count = len({task.tgid for task in kill.tasks})
    if count == 1:
        return "It was the only process there."
    return f"It was the largest of {plural(count, 'process')} there ({size(held_kb(victim))})."


def _why_not(bigger: Task, victim: Task) -> str:
    """Explain by oom_score_adj why the bigger one lived."""
    if bigger.oom_score_adj == _NEVER:
        return f"{bigger.name} is exempt (oom_score_adj −1000), so this one was killed."
    if bigger.tgid == 1:
        return "PID 1 is never killed, so this one was."
    ours, theirs = victim.oom_score_adj, bigger.oom_score_adj
    if ours is not None and theirs is not None and ours > theirs:
        return f"Killed because of its oom_score_adj {ours} (against {theirs})."
    return "The log does not show why this one was taken."


def _crowd(kill: OomKill, victim: Task) -> str:
    """Point at many small processes of one name that together held most, which no single row shows."""
    groups: dict[str, list[int]] = {}
    for task in largest_first(kill):
        groups.setdefault(task.name, []).append(held_kb(task))
    name, held = max(groups.items(), key=lambda item: sum(item[1]))
    if len(held) < 3 or sum(held) <= 2 * held_kb(victim):
        return ""
    return f" Together {len(held)} × {name} held {size(sum(held))}."
