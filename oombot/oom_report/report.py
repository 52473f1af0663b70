"""One report while its lines come in: the state of memory, the task table and the raw lines as evidence."""

import re
from typing import Any

from oombot.model import Task
from oombot.oom_report.lines import COMM_LENGTH, ConstraintLine, task_in, within

MAX_LINES, MAX_ROWS_SHOWN, MAX_LINE_LENGTH = 250, 140, 1024
MAX_TASKS = 32_768
_STRAY_LINES = 400  # so many unknown lines in a row are not a report any more
_DEFAULT_PAGE_KB = 4
_PAGE_SIZES_KB = (4, 8, 16, 64)
_UNLIMITED_KB = 1 << 52

# mem_cgroup_print_oom_meminfo(); "memory+swap" and "kmem" have lines of their own
_USAGE = re.compile(
    r"memory: usage (?P<usage>[0-9]{1,17})kB, limit (?P<limit>[0-9]{1,17})kB, failcnt (?P<failcnt>[0-9]{1,18})\s*"
)
# mem_cgroup_print_oom_meminfo(): one line per descendant up to 5.2 (the limit's cgroup first), a heading since 5.3
_STATS = re.compile(r"Memory cgroup stats for (?P<cgroup>/.*?):(?P<inline>| .*)")
# show_swap_cache_info(): "Free swap  = 0kB"
_SWAP = re.compile(r"(?P<which>Free|Total) swap\s+= (?P<kb>[0-9]{1,17})kB\s*")
# show_mem(): "49022 pages RAM", 2.6 "pages of RAM"
_RAM = re.compile(r"(?P<pages>[0-9]{1,14}) pages (?:of )?RAM\s*")
# show_free_areas(): "Node 0 DMA: 2*4kB (M) …"; the first order is one page
_BUDDY = re.compile(r"(?:Node [0-9]+ )?[A-Za-z0-9]+: [0-9]+\*(?P<page_kb>[0-9]{1,4})kB .*= [0-9]+kB\s*")
# dump_tasks(): "[ pid ]" up to 4.18, "[  pid  ]" since; the columns differ between kernels and vendors
_HEADING = re.compile(r"\[ +pid +\] +(?P<columns>\S.*\S)\s*")
_ROW = re.compile(r"\[ *(?P<pid>[0-9]{1,10})\](?P<rest>.*)", re.DOTALL)
# dump_stack_print_info(): "CPU: 0 [UID: 0] PID: 1 Comm: C Not tainted …"
_CPU = re.compile(r"CPU: [0-9]+ (?:UID: [0-9]+ )?PID: [0-9]+ Comm: (?P<rest>.*)", re.DOTALL)
_MEMORY_STARTS = ("Mem-Info:", "Node ", "active_anon:", "lowmem_reserve")


class Report:
    """What one report has said so far. A value that was said twice, differently, makes the report `mixed`."""

    def __init__(self, *, invoked: bool = False, invoker: str | None = None, mixed: bool = False) -> None:
        """Begin with the line that names the invoker, or without it where the first lines are missing."""
        self.invoker = invoker
        self.invoked = invoked
        self.mixed = mixed
        self.done = False
        self.constraint: ConstraintLine | None = None
        self.mono_s: float | None = None
        self._numbers: dict[str, int] = {}
        self._task_in: tuple[str | None, str | None] | None = None
        self._stats: list[str] = []
        self._columns: tuple[str, ...] = ()
        self._row: re.Pattern[str] | None = None
        self._rows: list[tuple[int, tuple[int, ...], str]] = []
        self._row_mono_s: float | None = None
        self._lines: list[str] = []
        self._rows_shown = self._rows_hidden = self._lines_hidden = self._stray = 0
        self._dumped = False

    # -------------------------------------------------------------- lines
    def add(self, text: str, mono_s: float | None) -> None:
        """Take one line, whatever it is."""
        self.mono_s = mono_s if mono_s is not None else self.mono_s
        known = self._learn(text, mono_s)
        self._stray = 0 if known else self._stray + 1
        self.done = self.done or self._stray > _STRAY_LINES
        is_row = known and _ROW.match(text) is not None
        self._keep(text, is_row=is_row)

    def _keep(self, text: str, *, is_row: bool) -> None:
        if is_row and self._rows_shown >= MAX_ROWS_SHOWN:
            self._rows_hidden += 1
            return
        if not is_row and len(self._lines) - self._rows_shown >= MAX_LINES:
            self._lines_hidden += 1
            return
        if not is_row and self._rows_hidden:
            self._mark_hidden_rows()
        self._rows_shown += is_row
        self._lines.append(text[:MAX_LINE_LENGTH])

    def _mark_hidden_rows(self) -> None:
        self._lines.append(f"[… {self._rows_hidden} more rows of the task table left out …]")
        self._rows_hidden = 0

    def _learn(self, text: str, mono_s: float | None) -> bool:
        if "\n" in text and not text.startswith("["):
            known = [self._learn(line, mono_s) for line in text.split("\n")]
            return any(known)
        line = text.strip()
        if line.startswith("["):
            return self._learn_table(text.lstrip(), mono_s)
        if self._learn_memory(line) or self._learn_cgroup(line):
            return True
        if line.startswith("CPU: "):
            return self._check_invoker(line)
        return self._continue_row(text, mono_s)

    def _learn_memory(self, line: str) -> bool:
        if swap := _SWAP.fullmatch(line):
            return self._once(f"swap_{swap['which']}", int(swap["kb"]))
        if ram := _RAM.fullmatch(line):
            return self._once("ram_pages", int(ram["pages"]))
        if buddy := _BUDDY.fullmatch(line):
            return self._once("page_kb", int(buddy["page_kb"]))
        return line.startswith(_MEMORY_STARTS)

    def _learn_cgroup(self, line: str) -> bool:
        if usage := _USAGE.fullmatch(line):
            self._once("limit_kb", int(usage["limit"]))
            self._once("failcnt", int(usage["failcnt"]))
            return self._once("usage_kb", int(usage["usage"]))
        if stats := _STATS.fullmatch(line):
            if not self._stats and not stats["inline"]:
                self._once("heading", 1)
            self._stats = [*self._stats, stats["cgroup"]][:2]
            return True
        if (where := task_in(line)) is not None:
            self.mixed = self.mixed or self._task_in not in (None, where)
            self._task_in = where
            return True
        return line.startswith(("memory+swap: ", "kmem: ", "swap: usage ", "Tasks state "))

    def _once(self, name: str, value: int) -> bool:
        if self._numbers.setdefault(name, value) != value:
            self.mixed = True
        return True

    def _check_invoker(self, line: str) -> bool:
        """A newline in the invoker's name cuts it in two: then only the right half stood before `invoked`."""
        cpu = _CPU.match(line)
        if cpu is None or self.invoker is None:
            return cpu is not None
        if not cpu["rest"].startswith(self.invoker.strip()):
            self.invoker = None
        return True

    # -------------------------------------------------------------- task table
    def _learn_table(self, text: str, mono_s: float | None) -> bool:
        if heading := _HEADING.fullmatch(text):
            columns = tuple(heading["columns"].split())
            if columns[-1] != "name" or len(columns) > 20:
                return False
            self.mixed = self.mixed or self._dumped
            self._dumped, self._columns = True, columns
            self._row = re.compile(
                rf"(?P<numbers>(?:\s*-?[0-9]+){{{len(columns) - 1}}}) (?P<name>.*)", re.DOTALL
            )
            return True
        row = _ROW.match(text)
        if row is None or self._row is None:
            return False
        cells = self._row.fullmatch(row["rest"])
        numbers = cells["numbers"].split() if cells else []
        if cells is None or len(numbers) != len(self._columns) - 1 or any(len(one) > 18 for one in numbers):
            return False
        if len(self._rows) <= MAX_TASKS:
            self._rows.append((int(row["pid"]), tuple(map(int, numbers)), cells["name"][:64]))
            self._row_mono_s = mono_s
        return True

    def _continue_row(self, text: str, mono_s: float | None) -> bool:
        """The rest of a name that holds a newline: it bears the stamp of its row."""
        if mono_s is None or mono_s != self._row_mono_s or not self._rows:
            return False
        pid, numbers, name = self._rows[-1]
        if len(name) + 1 + len(text) > COMM_LENGTH:
            return False
        self._rows[-1] = (pid, numbers, f"{name}\n{text}")
        return True

    def names(self, pid: int) -> str | None:
        """The name of a task by its pid or tgid."""
        return next(
            (name for row, numbers, name in self._rows if pid in (row, self._tgid(row, numbers))), None
        )

    def same_task(self, one: int, other: int) -> bool:
        """True when a row says that the two ids are one process: a thread and its group."""
        return one == other or any(
            {one, other} == {row, self._tgid(row, numbers)} for row, numbers, _ in self._rows
        )

    def agrees_on(self, pids: set[int]) -> bool:
        """False when the report's own table knows none of the processes."""
        return not self._rows or any(
            row in pids or self._tgid(row, numbers) in pids for row, numbers, _ in self._rows
        )

    def _tgid(self, pid: int, numbers: tuple[int, ...]) -> int:
        return numbers[self._columns.index("tgid")] if "tgid" in self._columns[:-1] else pid

    def tasks(self, pid: int, total_vm_kb: int | None) -> tuple[Task, ...]:
        """The table in kB. The page size is the buddy line's, or follows from the victim's own total-vm; where
        neither is there it is taken as 4 kB. A table that is too long to be kept whole is not given at all."""
        if len(self._rows) > MAX_TASKS:
            return ()
        page_kb = self._numbers.get("page_kb") or self._page_kb(pid, total_vm_kb) or _DEFAULT_PAGE_KB
        return tuple(self._task(*row, page_kb=page_kb) for row in self._rows)

    def _page_kb(self, pid: int, total_vm_kb: int | None) -> int | None:
        for row, numbers, _ in self._rows:
            pages = dict(zip(self._columns, numbers, strict=False)).get("total_vm")
            if pid == self._tgid(row, numbers) and pages and total_vm_kb and total_vm_kb % pages == 0:
                size = total_vm_kb // pages
                return size if size in _PAGE_SIZES_KB else None
        return None

    def _task(self, pid: int, numbers: tuple[int, ...], name: str, *, page_kb: int) -> Task:
        cell = dict(zip(self._columns, numbers, strict=False)).get
        rss, swap, table = cell("rss"), cell("swapents"), cell("pgtables_bytes")
        ptes, pmds = cell("nr_ptes"), cell("nr_pmds")
        pgtables_kb = table // 1024 if table is not None else None
        if pgtables_kb is None and ptes is not None:
            pgtables_kb = (ptes + (pmds or 0)) * page_kb
        return Task(
            pid=pid,
            tgid=self._tgid(pid, numbers),
            uid=cell("uid"),
            name=name,
            rss_kb=None if rss is None else rss * page_kb,
            swap_kb=None if swap is None else swap * page_kb,
            pgtables_kb=pgtables_kb,
            oom_score_adj=cell("oom_score_adj"),
        )

    # -------------------------------------------------------------- what it says
    @property
    def certain(self) -> bool:
        """SysRq-m and failed allocations print a Mem-Info too: without a heading only the task table proves more."""
        return not self.mixed and (
            self.invoked or self._dumped or bool(self._stats) or "usage_kb" in self._numbers
        )

    @property
    def has_limit(self) -> bool:
        """True when a cgroup's limit was named."""
        return self._task_in is not None

    def places(self) -> tuple[str | None, str | None]:
        """(oom_memcg, task_memcg) as the lines before 5.0 say; the first statistics are those of the limit."""
        limit, task = self._task_in or (None, None)
        if limit is None and self._stats:
            first_seen = "heading" in self._numbers or "usage_kb" in self._numbers or len(self._stats) == 1
            stats = self._stats[0] if first_seen else None
            limit = stats if task is None or within(task, stats) else None
        return limit, task

    def memory(self, *, memcg: bool) -> dict[str, Any]:
        """The numbers that a kill carries, by its field names."""
        get = self._numbers.get
        limit = get("limit_kb")
        pages, page_kb = get("ram_pages"), get("page_kb")
        return {
            "memory_usage_kb": get("usage_kb") if memcg else None,
            "memory_limit_kb": limit if memcg and limit is not None and limit < _UNLIMITED_KB else None,
            "memory_failcnt": get("failcnt") if memcg else None,
            "swap_total_kb": get("swap_Total"),
            "swap_free_kb": get("swap_Free"),
            "ram_kb": pages * page_kb if pages is not None and page_kb is not None else None,
        }

    def text(self) -> str:
        """The raw lines, with a mark where some were left out."""
        if self._rows_hidden:
            self._mark_hidden_rows()
        hidden = [f"[… {self._lines_hidden} more lines left out …]"] if self._lines_hidden else []
        return "\n".join([*self._lines, *hidden])


def opens_report(text: str) -> bool:
    """True for a line that begins a part of a report, so that a report without its first lines is one too."""
    line = text.strip()
    return (
        line.startswith(("Mem-Info:", "memory: usage ", "Memory cgroup stats for ", "Tasks state (memory"))
        or task_in(line) is not None
        or _HEADING.fullmatch(line) is not None
    )
