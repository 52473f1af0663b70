"""How close a host is to its next OOM kill: the fullest of its memory with swap, its cgroups' limits, its stalls."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from oombot.model import Cgroup, HostSnapshot, Process
from oombot.triage.amounts import size
from oombot.triage.machine import memory
from oombot.triage.workloads import workload

_WORTH_TELLING = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """The share (1.0 = nothing left) that ranks a host, None where nothing could be read, and the facts behind it."""

    share: float | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """How full the limit of one cgroup is. `cache`: the page cache, which could be given back, is counted too."""

    cgroup: Cgroup
    used_kb: int
    share: float
    cache: bool


def headroom(snapshot: HostSnapshot) -> Headroom:
    """Judge a reading."""
    fill, host = fullest(snapshot), _host_share(snapshot)
    stalled = None if snapshot.pressure is None else snapshot.pressure.some_avg10 / 100
    shares = [host, None if fill is None else fill.share, stalled]
    known = [min(1.0, max(0.0, share)) for share in shares if share is not None]
    share = max(known, default=None)
    told = [_host_now(snapshot)]
    if fill is not None and (fill.share >= _WORTH_TELLING or fill.share == share):
        told.insert(0 if host is None or fill.share >= host else 1, _told(fill))
    return Headroom(share=share, text="; ".join(told))


def fullest(snapshot: HostSnapshot) -> Fill | None:
    """The cgroup that is nearest to its limit; a limit of all the memory or more limits nothing."""
    total = snapshot.memory_kb.get("MemTotal")
    held = _held(snapshot) if snapshot.processes_whole else None
    fills = [
        fill
        for cgroup in snapshot.cgroups.values()
        if cgroup.limit_kb and (total is None or cgroup.limit_kb < total)
        for fill in _fill(cgroup, cgroup.limit_kb, held)
    ]
    return max(fills, key=lambda fill: fill.share, default=None)


def _fill(cgroup: Cgroup, limit_kb: int, held: Mapping[str, int | None] | None) -> Iterator[Fill]:
    """What the processes hold, as far as /proc tells; else the cgroup's own usage, where page cache is in."""
    ours = None if held is None else _below(cgroup.path, held)
    known = [kb for kb in (ours, cgroup.usage_kb) if kb is not None]
    if known:
        used = min(known)
        cache = ours is None
        yield Fill(cgroup=cgroup, used_kb=used, share=used / limit_kb, cache=cache)


def _held(snapshot: HostSnapshot) -> dict[str, int | None]:
    """What the processes of each cgroup hold and can not give back; None where one of them is not readable."""
    held: dict[str, int | None] = {}
    for process in snapshot.processes:
        if process.cgroup is not None and not process.kernel_thread:
            before, more = held.get(process.cgroup, 0), _unreclaimable(process)
            held[process.cgroup] = None if before is None or more is None else before + more
    return held


def _unreclaimable(process: Process) -> int | None:
    parts = (process.rss_anon_kb, process.rss_shmem_kb, process.pgtables_kb)
    return None if None in parts else sum(part for part in parts if part is not None)


def _below(path: str, held: Mapping[str, int | None]) -> int | None:
    inside = [kb for own, kb in held.items() if own == path or own.startswith(path.rstrip("/") + "/")]
    return None if None in inside else sum(kb for kb in inside if kb is not None)


def _host_share(snapshot: HostSnapshot) -> float | None:
    """How much of memory and swap is taken; of memory alone where swap could not be read."""
    facts = memory(snapshot)
    if facts.available_kb is None or not facts.total_kb:
        return None
    if facts.swap_total_kb is None or facts.swap_free_kb is None:
        return 1 - facts.available_kb / facts.total_kb
    return 1 - (facts.available_kb + facts.swap_free_kb) / (facts.total_kb + facts.swap_total_kb)


def _host_now(snapshot: HostSnapshot) -> str:
    """Say in few words what the host has left, and whether tasks wait for it."""
    facts = memory(snapshot)
    swap = "no swap" if facts.swap_total_kb == 0 else f"swap {facts.swap_used} of {facts.swap_total} used"
    if snapshot.pressure is None:
        stalled = ", PSI not readable"
    else:
        percent = snapshot.pressure.some_avg10
        stalled = f", stalled {percent:.0f} % of the last 10 s" if percent >= 1 else ""
    return f"{facts.available} of {facts.total} available, {swap}{stalled}"


def _told(fill: Fill) -> str:
    name, limit = workload(fill.cgroup.path).label, size(fill.cgroup.limit_kb)
    if fill.cache:
        return f"{name} uses {size(fill.used_kb)} of its {limit} limit, page cache counted"
    return f"{name}: processes hold {size(fill.used_kb)} of its {limit} limit"
