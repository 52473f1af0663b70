"""How the kernel weighs processes: oom_badness() of mm/oom_kill.c and /proc/PID/oom_score, in its own integers.

What can not be seen from outside is left out: a task in the middle of vfork, one whose memory was reaped already,
`swapoff` (it is taken first), `memory.swappiness` 0 and `vm.oom_kill_allocating_task`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from oombot.model import Cgroup, HostSnapshot, Process

Scale = Literal["since_5_9", "before_5_9"]

NO_ADJS: Mapping[int, int] = MappingProxyType({})
OOM_SCORE_ADJ_MIN = -1000
INIT_PID = 1
ROUNDING = 2
"""Score.rounding is never further from 0: each part is cut to a whole number by itself."""

_FIT_TOLERANCE = 3  # units of oom_score that a process may have moved while it was read
_ROOT_BONUS = (
    3 / 100
)  # up to 4.16 the kernel forgave root (CAP_SYS_ADMIN) 3 % of its memory; it is not computed
_RANGE: Mapping[Scale, str] = {
    "since_5_9": "666 = idle, 1333 = all of memory at adj 0 (adj adds up to ±666)",
    "before_5_9": "0 = idle, 1000 = all of memory at adj 0 (adj adds up to ±1000)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One /proc/PID/oom_score taken apart: baseline + memory + adj + rounding == computed.

    `shown` is what /proc said, `computed` what its kernel's formula gives; |rounding| is at most ROUNDING.
    A process that the kernel never chooses (pid 1, adj −1000, kernel thread) is not `killable` and all zeroes.
    """

    shown: int | None
    computed: int
    baseline: int
    memory: int
    adj: int
    rounding: int
    killable: bool
    scale: Scale
    range_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A process with its badness in pages and as a share of the memory that ran out (1.0 = all of it)."""

    process: Process
    points: int
    share: float


def points(process: Process, *, totalpages: int, page_kb: int, adj: int | None = None) -> int | None:
    """Badness in pages, as oom_badness() has it; None = never killed, or not known because /proc would not say.

    `adj` stands in for the process's own oom_score_adj. The result may be negative: since 5.9 the kernel
    compares it as it is, before it took at least 1.
    """
    adj = process.oom_score_adj if adj is None else adj
    pages = _memory_pages(process, page_kb)
    if pages is None or adj is None or adj == OOM_SCORE_ADJ_MIN or process.pid == INIT_PID:
        return None
    return pages + _adj_pages(adj, totalpages)


def host_totalpages(snapshot: HostSnapshot) -> int | None:
    """Memory and swap of the host in pages: what the kernel holds against a process when the host runs out."""
    memory_kb, swap_kb = snapshot.memory_kb.get("MemTotal"), snapshot.memory_kb.get("SwapTotal", 0)
    return (memory_kb // snapshot.page_kb + swap_kb // snapshot.page_kb) or None if memory_kb else None


def cgroup_totalpages(snapshot: HostSnapshot, path: str) -> int | None:
    """Limit of the cgroup and the swap it may use on top, in pages; None where there is no limit.

    As mem_cgroup_get_max(): limit + min(swap allowed, swap of the host). `swap_limit_kb` is memory.swap.max in
    cgroup v2 and memory.memsw.limit_in_bytes − memory.limit_in_bytes in v1.
    """
    cgroup = snapshot.cgroups.get(path)
    if cgroup is None or cgroup.limit_kb is None:
        return None
    host_swap = snapshot.memory_kb.get("SwapTotal", 0) // snapshot.page_kb
    own_swap = host_swap if cgroup.swap_limit_kb is None else cgroup.swap_limit_kb // snapshot.page_kb
    return max(1, cgroup.limit_kb // snapshot.page_kb + min(own_swap, host_swap))


def scale(snapshot: HostSnapshot) -> Scale | None:
    """Which formula made the oom_score of this process table, told by which one fits; None when neither stands out.

    The version is no guide: vendors port the change of 5.9 back.
    """
    totalpages = host_totalpages(snapshot)
    if totalpages is None:
        return None
    verdicts = [verdict for p in snapshot.processes if (verdict := _verdict(p, totalpages, snapshot.page_kb))]
    since, before = verdicts.count("since_5_9"), verdicts.count("before_5_9")
    if max(since, before) * 2 <= len(verdicts):
        return None
    return "since_5_9" if since > before else "before_5_9"


def oom_score(badness: int | None, totalpages: int, kernel_scale: Scale) -> int:
    """What /proc/PID/oom_score shows for this badness: proc_oom_score() of fs/proc/base.c."""
    if badness is None:
        return 0
    if kernel_scale == "before_5_9":
        return max(badness, 1) * 1000 // totalpages
    return _divide((1000 + _divide(badness * 1000, totalpages)) * 2, 3)


def decompose(process: Process, snapshot: HostSnapshot, *, kernel_scale: Scale | None = None) -> Score | None:
    """Take a process's oom_score apart; None when the formula, the host's memory or the process is not known.

    Hand `kernel_scale` in to take many apart: it is the same for the whole snapshot.
    """
    kernel_scale = kernel_scale or scale(snapshot)
    totalpages = host_totalpages(snapshot)
    if kernel_scale is None or totalpages is None:
        return None
    if _exempt(process):
        return _score(process, computed=0, parts=(0, 0, 0), killable=False, kernel_scale=kernel_scale)
    badness = points(process, totalpages=totalpages, page_kb=snapshot.page_kb)
    pages, adj = _memory_pages(process, snapshot.page_kb), process.oom_score_adj
    if badness is None or pages is None or adj is None:
        return None
    parts = _parts(pages, _adj_pages(adj, totalpages), totalpages, kernel_scale)
    computed = oom_score(badness, totalpages, kernel_scale)
    return _score(process, computed=computed, parts=parts, killable=True, kernel_scale=kernel_scale)


def ranking(
    snapshot: HostSnapshot, *, cgroup: str | None = None, adjs: Mapping[int, int] = NO_ADJS
) -> list[Ranked]:
    """Processes that the kernel would consider, worst first: of the host, or of a cgroup and those below it.

    `adjs` (pid → oom_score_adj) asks "what if". Nobody is considered in a cgroup without a limit: it never
    runs out by itself.
    """
    totalpages = host_totalpages(snapshot) if cgroup is None else cgroup_totalpages(snapshot, cgroup)
    if totalpages is None:
        return []
    before = scale(snapshot) == "before_5_9"
    ranked = []
    for process in snapshot.processes:
        if cgroup is not None and not _within(process, cgroup):
            continue
        badness = points(process, totalpages=totalpages, page_kb=snapshot.page_kb, adj=adjs.get(process.pid))
        if badness is not None:
            badness = max(badness, 1) if before else badness
            ranked.append(Ranked(process=process, points=badness, share=badness / totalpages))
    # oom_evaluate_task() passes over a task only when `points < oc->chosen_points`, so of two equals the one
    # scanned last is taken; up to 5.2 the line "prefer thread group leaders" kept the first. Tasks are scanned
    # in the order in which they were started.
    age = 1 if before else -1
    return sorted(ranked, key=lambda r: (-r.points, age * r.process.start_ticks, age * r.process.pid))


def next_victim(
    snapshot: HostSnapshot, *, cgroup: str | None = None, adjs: Mapping[int, int] = NO_ADJS
) -> Ranked | None:
    """Whom the kernel would kill if memory ran out now, in the host or in the cgroup."""
    return next(iter(ranking(snapshot, cgroup=cgroup, adjs=adjs)), None)


def why_unknown(snapshot: HostSnapshot) -> str:
    """Say why nobody can tell whom the kernel would take on this host; nothing when one can."""
    if not snapshot.processes_whole:
        return f"the process table of {snapshot.host} could not be read whole"
    if not snapshot.memory_kb.get("MemTotal") or "SwapTotal" not in snapshot.memory_kb:
        return f"the memory of {snapshot.host} could not be read"
    return ""


def unread(snapshot: HostSnapshot, *, cgroup: str | None = None) -> int:
    """Count the processes that the kernel may well choose, but whose memory or adj /proc did not tell.

    One that has ended is none of them: a zombie scores 0, of one that vanished meanwhile no status could be read.
    """
    return sum(
        (cgroup is None or _within(process, cgroup))
        and not _exempt(process)
        and process.uid is not None
        and (process.oom_score_adj is None or _memory_pages(process, snapshot.page_kb) is None)
        and not (process.oom_score == 0 and process.rss_kb is None)
        for process in snapshot.processes
    )


def capped_cgroup(snapshot: HostSnapshot, process: Process) -> Cgroup | None:
    """The nearest cgroup with a limit, from the process's own upwards."""
    path = process.cgroup
    while path:
        cgroup = snapshot.cgroups.get(path)
        if cgroup is not None and cgroup.limit_kb is not None:
            return cgroup
        path = "" if path == "/" else path.rpartition("/")[0] or "/"
    return None


def _divide(number: int, by: int) -> int:
    """Divide as C does: towards zero."""
    return number // by if number >= 0 else -(-number // by)


def _memory_pages(process: Process, page_kb: int) -> int | None:
    """Resident, swapped and page-table memory in pages, each cut by itself as the kernel counts them."""
    rss, swap, tables = process.rss_kb, process.swap_kb, process.pgtables_kb
    if process.kernel_thread or rss is None or swap is None or tables is None:
        return None
    return rss // page_kb + swap // page_kb + tables // page_kb


def _adj_pages(adj: int, totalpages: int) -> int:
    """Pages that oom_score_adj is worth: `adj *= totalpages / 1000`, the division first."""
    return adj * (totalpages // 1000)


def _exempt(process: Process) -> bool:
    return process.kernel_thread or process.pid == INIT_PID or process.oom_score_adj == OOM_SCORE_ADJ_MIN


def _within(process: Process, cgroup: str) -> bool:
    path = process.cgroup or ""
    return path == cgroup or path.startswith(cgroup.rstrip("/") + "/")


def _verdict(process: Process, totalpages: int, page_kb: int) -> Scale | Literal["neither"] | None:
    """Which formula fits this process; None where it can not tell them apart."""
    badness = points(process, totalpages=totalpages, page_kb=page_kb)
    if badness is None or process.oom_score is None:
        return None
    since, before = (oom_score(badness, totalpages, kind) for kind in ("since_5_9", "before_5_9"))
    if abs(since - before) <= 2 * _FIT_TOLERANCE:
        return None
    if abs(since - process.oom_score) <= _FIT_TOLERANCE:
        return "since_5_9"
    bonus = _ROOT_BONUS * (_memory_pages(process, page_kb) or 0) * 1000 / totalpages if not process.uid else 0
    if before - bonus - _FIT_TOLERANCE <= process.oom_score <= before + _FIT_TOLERANCE:
        return "before_5_9"
    return "neither"


def _parts(pages: int, adj_pages: int, totalpages: int, kernel_scale: Scale) -> tuple[int, int, int]:
    """Baseline, memory and adj in units of oom_score; before 5.9 adj takes at most what memory gave."""
    if kernel_scale == "since_5_9":
        return 666, pages * 2000 // (3 * totalpages), _divide(adj_pages * 2000, 3 * totalpages)
    memory = pages * 1000 // totalpages
    return 0, memory, max(_divide(adj_pages * 1000, totalpages), -memory)


def _score(
    process: Process, *, computed: int, parts: tuple[int, int, int], killable: bool, kernel_scale: Scale
) -> Score:
    baseline, memory, adj = parts
    return Score(
        shown=process.oom_score,
        computed=computed,
        baseline=baseline,
        memory=memory,
        adj=adj,
        rounding=computed - sum(parts),
        killable=killable,
        scale=kernel_scale,
        range_text=_RANGE[kernel_scale] if killable else "0 = never chosen by the kernel",
    )
