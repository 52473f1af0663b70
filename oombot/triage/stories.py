"""One kill told for the card: who died, where and why; is it back, will it recur, what next."""

from collections.abc import Sequence
from dataclasses import dataclass

from oombot.model import HostSnapshot, OomKill
from oombot.triage.amounts import shorten, size
from oombot.triage.limits import choice, limit_of, reason, swap_state
from oombot.triage.machine import pressure
from oombot.triage.prospects import advice, back, is_later, outlook, recurrence, runs_again
from oombot.triage.services import find_unit, is_up

_LATE_S = 120.0
_EVIDENCE = {
    "kill_line": "the kernel's own kill line",
    "kill_line_truncated": "a kill line that was cut short: what is missing is not guessed",
    "constraint_line": "the kernel's constraint line only; the kill line itself was not seen",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KillStory:
    """A kill in sentences. `now` (is it back?) and `machine` are None until the host was read after the kill.

    `is_back` is the answer in one word (None = not known), `as_of_s` when the host was read for it; `unread` says
    why it could not be read (later). `rss` is the breakdown the kernel printed.
    """

    host: str
    kill: OomKill
    victim: str
    verdict: str
    why: str
    rss: str
    facts: tuple[tuple[str, str], ...]
    now: str | None
    machine: str | None
    is_back: bool | None
    recurrence: str
    outlook: str
    advice: tuple[str, ...]
    evidence: str
    late: bool
    time_s: float | None
    time_approximate: bool
    memory: tuple[tuple[str, str], ...]
    as_of_s: float | None = None
    unread: str = ""


def about_kill(
    kill: OomKill,
    *,
    host: str,
    snapshot: HostSnapshot | None = None,
    earlier: Sequence[OomKill] = (),
    seen_s: float | None = None,
    unread: str = "",
) -> KillStory:
    """Tell one kill. `earlier` are other kills of the host; `seen_s` is when the bot saw it, to tell a late card.

    `unread` says why the host could not be read (again), where it was tried in vain.

    A snapshot from before the kill says nothing about what came of it and is ignored.
    """
    after = snapshot if snapshot is not None and is_later(snapshot, kill) else None
    limit = limit_of(kill)
    place = "" if limit.victim.kind == "none" else f" in {limit.victim.label}"
    swap = swap_state(kill)
    others = [other for other in earlier if other is not kill]
    return KillStory(
        host=host,
        kill=kill,
        victim=f"{kill.comm} (pid {kill.pid})",
        verdict=f"{kill.comm} (pid {kill.pid}){place} was killed: {reason(kill, limit)}"
        + (f"; {swap}." if swap else "."),
        why=choice(kill),
        rss=_rss(kill),
        facts=_facts(kill),
        now=None if after is None else back(kill, limit, after),
        machine=None if after is None else pressure(after),
        is_back=None if after is None else _is_back(kill, limit.victim.unit, after),
        recurrence=recurrence(kill, others),
        outlook=outlook(kill, limit, others, after),
        advice=advice(kill, limit, after),
        evidence=_EVIDENCE.get(kill.evidence, kill.evidence),
        late=seen_s is not None and kill.time_s is not None and seen_s - kill.time_s > _LATE_S,
        time_s=kill.time_s,
        time_approximate=kill.time_approximate,
        memory=_memory(kill),
        as_of_s=None if after is None else after.taken_s,
        unread=unread.strip().rstrip("."),
    )


def _rss(kill: OomKill) -> str:
    """Write the memory the victim held, split as the kernel splits it."""
    parts = (kill.anon_rss_kb, kill.file_rss_kb, kill.shmem_rss_kb)
    total = None if kill.anon_rss_kb is None else sum(part or 0 for part in parts)
    anon, file, shmem = (size(part) for part in parts)
    return f"{size(total)} resident (anon {anon}, file {file}, shmem {shmem})"


def _facts(kill: OomKill) -> tuple[tuple[str, str], ...]:
    """List what the kernel printed about the victim, under the kernel's own names; the unknown is left out."""
    level = None if kill.scope is None else {"memcg": "cgroup limit", "global": "whole host"}[kill.scope]
    said = (
        ("uid", _number(kill.uid)),
        ("oom_score_adj", _number(kill.oom_score_adj)),
        ("total-vm", None if kill.total_vm_kb is None else size(kill.total_vm_kb)),
        ("pgtables", None if kill.pgtables_kb is None else size(kill.pgtables_kb)),
        ("scope", level),
        ("constraint", kill.constraint),
        *_cgroups(kill),
        ("invoked by", kill.invoker),
        ("memory.oom.group", kill.oom_group and shorten(kill.oom_group, 120)),
    )
    return tuple((name, value) for name, value in said if value is not None)


def _cgroups(kill: OomKill) -> tuple[tuple[str, str | None], ...]:
    """Name the cgroup of the limit and the victim's: once, where they are the same."""
    limit, own = (None if path is None else shorten(path, 120) for path in (kill.oom_memcg, kill.task_memcg))
    if limit is not None and kill.oom_memcg == kill.task_memcg:
        return (("oom_memcg = task_memcg", limit),)
    return (("oom_memcg", limit), ("task_memcg", own))


def _memory(kill: OomKill) -> tuple[tuple[str, str], ...]:
    """List the state of memory at the kill, as far as the report carries it."""
    said = (
        ("usage of the cgroup", kill.memory_usage_kb),
        ("limit of the cgroup", kill.memory_limit_kb),
        ("RAM", kill.ram_kb),
        ("swap", kill.swap_total_kb),
        ("free swap", kill.swap_free_kb),
    )
    sizes = [(name, size(value)) for name, value in said if value is not None]
    if kill.memory_failcnt is not None:
        sizes.append(("times the limit was hit (failcnt)", str(kill.memory_failcnt)))
    return tuple(sizes)


def _is_back(kill: OomKill, unit_name: str | None, snapshot: HostSnapshot) -> bool | None:
    """Answer "is it back" by the unit; without one, a process of the same name is a hint, not an answer."""
    unit = find_unit(snapshot, unit_name)
    if unit is not None:
        return is_up(unit)
    if unit_name is not None and snapshot.units:
        return False  # what systemd has not loaded does not run
    return False if runs_again(kill, snapshot) is False else None


def _number(value: int | None) -> str | None:
    """Write a number, or keep the unknown unknown."""
    return None if value is None else str(value)
