"""The process table and the memory cgroups that hold it."""

import re
from collections.abc import Iterable, Mapping, Sequence

from oombot.facts.sections import integer, text
from oombot.model import Cgroup, Process

_UNLIMITED = 2**62  # cgroup v1 prints PAGE_COUNTER_MAX in bytes, 9223372036854771712 with 4 kB pages
_ESCAPED = re.compile(rb"\\(n|\\)")  # fs/proc/array.c proc_task_name() escapes these two and nothing else
_CGROUP_FILE = re.compile(
    rb"(?P<path>/.*)/(?P<file>memory\.[a-z_.]+):(?P<key>oom_kill )?(?P<value>[0-9]{1,20}|max)"
)


def processes(lines: Sequence[bytes]) -> tuple[Process, ...]:
    """Rows of the table, by pid; a row that is not whole is left out."""
    found: dict[int, Process] = {}
    for at, line in enumerate(lines):
        if not line.startswith(b"p "):
            continue
        name, group = [*lines[at + 1 : at + 3], b"", b""][:2]
        row = _process(line.split(b" ")[1:], name, group)
        if row is not None:
            found[row.pid] = row
    return tuple(found[pid] for pid in sorted(found))


def whole(lines: Sequence[bytes], table: Sequence[Process]) -> bool:
    """Whether these are all processes of the host: every row could be read, init too, and nothing was cut."""
    rows = sum(line.startswith(b"p ") for line in lines)
    return b"cut" not in lines and rows == len(table) and any(row.pid == 1 for row in table)


def _process(words: Sequence[bytes], name: bytes, group: bytes) -> Process | None:
    if len(words) != 13 or not name.startswith(b"n ") or group[:1] != b"g":
        return None
    pid, start, ppid, uid, thread, *rest = (integer(word) for word in words)
    if pid is None or start is None or ppid is None:
        return None
    vsize, anon, file, shmem, swap, pgtables, score, adj = rest
    return Process(
        pid=pid,
        start_ticks=start,
        ppid=ppid,
        uid=uid,
        comm=text(_ESCAPED.sub(lambda found: b"\n" if found[1] == b"n" else b"\\", name[2:])),
        kernel_thread=thread == 1,
        vsize_kb=vsize,
        rss_anon_kb=anon,
        rss_file_kb=file,
        rss_shmem_kb=shmem,
        swap_kb=swap,
        pgtables_kb=pgtables,
        oom_score=score,
        oom_score_adj=adj,
        cgroup=text(group[2:]) if len(group) > 2 else None,
    )


def cgroups(lines: Sequence[bytes], table: Iterable[Process]) -> dict[str, Cgroup]:
    """Each cgroup that holds a process, and its ancestors, with what its files say."""
    root = next((line[5:] for line in lines if line.startswith(b"root ")), b"")
    files: dict[str, dict[str, int | None]] = {}
    for path in {row.cgroup for row in table if row.cgroup is not None}:
        for ancestor in _ancestry(path):
            files.setdefault(ancestor, {})
    for found in (_CGROUP_FILE.fullmatch(line) for line in lines):
        if found and root and found["path"].startswith(root):
            path = text(found["path"][len(root) :]) or "/"
            key = "oom_kill" if found["key"] else found["file"].decode()
            files.setdefault(path, {})[key] = _limit(found["value"])
    return {path: _cgroup(path, values) for path, values in sorted(files.items())}


def _ancestry(path: str) -> Iterable[str]:
    parts = [part for part in path.split("/") if part]
    return ["/" + "/".join(parts[:depth]) for depth in range(len(parts) + 1)]


def _limit(value: bytes) -> int | None:
    number = integer(value)
    return None if number is None or number >= _UNLIMITED else number


def _cgroup(path: str, values: Mapping[str, int | None]) -> Cgroup:
    limit = values.get("memory.max", values.get("memory.limit_in_bytes"))
    usage = values.get("memory.current", values.get("memory.usage_in_bytes"))
    swap = values.get("memory.swap.max")
    both = values.get("memory.memsw.limit_in_bytes")  # v1 limits the sum, v2 swap alone
    if both is not None and limit is not None:
        swap = max(0, both - limit)
    return Cgroup(
        path=path,
        limit_kb=_kb(limit),
        usage_kb=_kb(usage),
        swap_limit_kb=_kb(swap),
        oom_kill_count=values.get("oom_kill"),
        version=2 if "memory.current" in values else 1 if "memory.usage_in_bytes" in values else None,
    )


def _kb(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else size_bytes // 1024


def family(pid: int, table: Iterable[Process]) -> frozenset[int]:
    """A process, its ancestors (the login, the bot) and its descendants; never init itself."""
    parents = {row.pid: row.ppid for row in table}
    found = {pid}
    above = parents.get(pid, 0)
    while above > 1 and above not in found:
        found.add(above)
        above = parents.get(above, 0)
    below = {pid}
    while below:
        below = {row for row, parent in parents.items() if parent in below and row not in found}
        found |= below
    return frozenset(found)
