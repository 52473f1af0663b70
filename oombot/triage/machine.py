"""The state of a host's memory, as `free -h` and `ps --sort=-%mem` tell it."""

from dataclasses import dataclass

from oombot.model import HostSnapshot, Process
from oombot.triage.amounts import size
from oombot.triage.workloads import workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One reading of memory and swap in kB, in the words of `free`; None where /proc/meminfo did not say."""

    total_kb: int | None
    used_kb: int | None
    free_kb: int | None
    shared_kb: int | None
    buff_cache_kb: int | None
    available_kb: int | None
    swap_total_kb: int | None
    swap_used_kb: int | None
    swap_free_kb: int | None
    total: str
    used: str
    free: str
    shared: str
    buff_cache: str
    available: str
    swap_total: str
    swap_used: str
    swap_free: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """One of the biggest processes: `memory_percent` is RSS against MemTotal, as ps has it."""

    pid: int
    comm: str
    memory_percent: float
    rss_kb: int
    swap_kb: int | None
    rss: str
    swap: str
    unit: str


def memory(snapshot: HostSnapshot) -> Memory:
    """Compute what `free` of procps 4 shows: used = total - available, buff/cache with SReclaimable."""
    read = snapshot.memory_kb.get
    total, available, free = read("MemTotal"), read("MemAvailable"), read("MemFree")
    cache = [read("Buffers"), read("Cached"), read("SReclaimable")]
    buff_cache = None if None in cache else sum(part for part in cache if part is not None)
    swap_total, swap_free = read("SwapTotal"), read("SwapFree")
    numbers = {
        "total": total,
        "used": _difference(total, available),
        "free": free,
        "shared": read("Shmem"),
        "buff_cache": buff_cache,
        "available": available,
        "swap_total": swap_total,
        "swap_used": _difference(swap_total, swap_free),
        "swap_free": swap_free,
    }
    in_kb = {f"{name}_kb": value for name, value in numbers.items()}
    in_words = {name: size(value) for name, value in numbers.items()}
    return Memory(**in_kb, **in_words)  # type: ignore[arg-type] # both halves are built right above


def consumers(snapshot: HostSnapshot, count: int = 5) -> tuple[Consumer, ...]:
    """List the processes with the largest share of memory, as `ps --sort=-%mem`."""
    total = snapshot.memory_kb.get("MemTotal") or 0
    known = [process for process in snapshot.processes if process.rss_kb]
    largest = sorted(known, key=lambda process: (-(process.rss_kb or 0), process.pid))[:count]
    return tuple(_consumer(process, total) for process in largest)


def incomplete(snapshot: HostSnapshot) -> str:
    """Say why a process that is not listed may run all the same; nothing when the table is whole."""
    return "" if snapshot.processes_whole else "the process table could not be read whole"


def pressure(snapshot: HostSnapshot) -> str:
    """Say how much memory is left and how long tasks wait for it."""
    facts = memory(snapshot)
    left = f"{facts.available} of {facts.total} memory available"
    swap = "no swap" if facts.swap_total_kb == 0 else f"swap {facts.swap_used} of {facts.swap_total} used"
    if snapshot.pressure is None:
        return f"{left}, {swap}, pressure (PSI) not readable"
    return f"{left}, {swap}, tasks stalled on memory {snapshot.pressure.some_avg10:.0f} % of the last 10 s"


def holder(process: Process) -> str:
    """Name the unit, container or session that a process belongs to, or nothing."""
    owner = workload(process.cgroup)
    return "" if owner.kind == "none" else owner.label


def _consumer(process: Process, total_kb: int) -> Consumer:
    """Put one process into a row."""
    rss = process.rss_kb or 0
    return Consumer(
        pid=process.pid,
        comm=process.comm,
        memory_percent=round(100 * rss / total_kb, 1) if total_kb else 0.0,
        rss_kb=rss,
        swap_kb=process.swap_kb,
        rss=size(rss),
        swap=size(process.swap_kb),
        unit=holder(process),
    )


def _difference(whole: int | None, part: int | None) -> int | None:
    """Subtract, where both are known."""
    return None if whole is None or part is None else whole - part
