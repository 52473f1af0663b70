"""The nouns, as frozen values: what a log says and what a host shows; what a person approves is in proposals.py.

Every number carries its unit in its name; what is not known is None, never 0 or "".
Times ending in `_s` are seconds since the Unix epoch (UTC) unless the name says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from oombot.details import Details

Scope = Literal["global", "memcg"]
Json = Mapping[str, Any]
NOTHING: Final = Details()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command for a host: argv as a list, never a shell string, and the bytes for its standard input.

    Adapters quote it once; `sudo` asks the adapter to run it as root where the login is not root, by the acting
    identity where there is one. `forced`: the key's forced command on the host decides what runs, so argv is sent
    bare (no sudo, no timeout, no announcement) and names only what is asked for.
    """

    argv: tuple[str, ...]
    stdin: str = ""
    sudo: bool = False
    forced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What a command did on a host: exit status (128 + signal where killed) and its bytes."""

    exit_status: int
    stdout: bytes
    stderr: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One log message freed from its transport (syslog prefix, JSON frame, kmsg header).

    `text` is decoded with replacement of invalid UTF-8; `cursor` is the detector's own resume position.
    `mono_s` is the kernel's clock (seconds since boot); `time_s` is wall time, `approximate` where derived from that.
    `kernel` is true where the transport proves that the kernel wrote it, None where the transport can not say.
    """

    text: str
    mono_s: float | None = None
    time_s: float | None = None
    approximate: bool = False
    cursor: str | None = None
    boot_id: str | None = None
    kernel: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch of the log that was not seen, and why; `unreadable`: the source can not be read at all.

    `kept_s`: the log still holds everything from then on, so whoever followed until later has missed nothing.
    """

    reason: str
    since_s: float | None = None
    until_s: float | None = None
    kept_s: float | None = None
    unreadable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The detector has caught up: what follows happens now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row of the report's task table; sizes in kB by the page size that the report itself shows."""

    pid: int
    tgid: int
    uid: int | None
    name: str
    rss_kb: int | None
    swap_kb: int | None
    pgtables_kb: int | None
    oom_score_adj: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OomKill:
    """One process that the kernel reported as killed, with what its report says and nothing else.

    Field names are the kernel's. `scope` is memcg when a cgroup's limit was hit, global when the host ran out.
    `oom_memcg` is the cgroup whose limit was hit, `task_memcg` the one the victim lived in.
    `evidence` names the strongest line seen: kill_line, kill_line_truncated, constraint_line.
    """

    killer: str = "kernel"
    pid: int
    comm: str
    uid: int | None = None
    total_vm_kb: int | None = None
    anon_rss_kb: int | None = None
    file_rss_kb: int | None = None
    shmem_rss_kb: int | None = None
    pgtables_kb: int | None = None
    oom_score_adj: int | None = None
    scope: Scope | None = None
    constraint: str | None = None
    oom_memcg: str | None = None
    task_memcg: str | None = None
    invoker: str | None = None
    time_s: float | None = None
    time_approximate: bool = False
    mono_s: float | None = None
    boot_id: str | None = None
    evidence: str = "kill_line"
    # the state of memory at the kill, where the report carries it
    memory_usage_kb: int | None = None  # of the cgroup whose limit was hit
    memory_limit_kb: int | None = None
    memory_failcnt: int | None = None
    swap_total_kb: int | None = None
    swap_free_kb: int | None = None
    ram_kb: int | None = None
    oom_group: str | None = None  # cgroup whose memory.oom.group took this process too
    tasks: tuple[Task, ...] = ()
    report: str = ""  # the raw lines, as evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One row of a host's process table; sizes in kB, None where /proc would not say.

    `start_ticks` (field 22 of /proc/PID/stat) with `pid` names a process for good: a reused pid differs.
    `cgroup` is the path in the hierarchy that limits memory. Kernel threads have no memory of their own.
    """

    pid: int
    start_ticks: int
    ppid: int
    uid: int | None
    comm: str
    kernel_thread: bool
    vsize_kb: int | None
    rss_anon_kb: int | None
    rss_file_kb: int | None
    rss_shmem_kb: int | None
    swap_kb: int | None
    pgtables_kb: int | None
    oom_score: int | None
    oom_score_adj: int | None
    cgroup: str | None

    @property
    def rss_kb(self) -> int | None:
        """Resident memory in kB: anon + file + shmem, None where unreadable."""
        parts = (self.rss_anon_kb, self.rss_file_kb, self.rss_shmem_kb)
        return None if None in parts else sum(part for part in parts if part is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """A memory cgroup that holds processes, or an ancestor of one; None = no limit or not readable."""

    path: str
    limit_kb: int | None
    usage_kb: int | None
    swap_limit_kb: int | None = None
    oom_kill_count: int | None = None
    version: int | None = None  # of the hierarchy, 1 or 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One systemd service, in systemd's own words; `since_s` is StateChangeTimestamp."""

    name: str
    active_state: str
    sub_state: str
    result: str
    n_restarts: int | None
    restart: str
    exec_main_status: int | None
    exec_main_code: int | None
    main_pid: int | None
    control_group: str
    since_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One line of /proc/swaps, sizes in kB."""

    name: str
    kind: str
    size_kb: int
    used_kb: int
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """PSI of memory: share of time, in percent, that some or all tasks stalled, over 10 s and 60 s."""

    some_avg10: float
    some_avg60: float
    full_avg10: float
    full_avg60: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLog:
    """The kernel log as one reading saw it.

    `source` names the detector that understands `lines`; `problem` says why nothing could be read, `fix` what mends
    it. `since_s` is the oldest entry still there (wall), `since_boot` true when that is the boot: nothing was lost.
    """

    source: str | None
    lines: tuple[bytes, ...]
    problem: str = ""
    fix: str = ""
    since_s: float | None = None
    since_boot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSnapshot:
    """Everything one round trip to a host told, parsed; `taken_s` is the bot's clock, `now_s` the host's.

    `memory_kb` has the keys of /proc/meminfo, `problems` each section that could not be read, with why. `own_pids`
    are the bot's own connection: never a target. Unless `processes_whole`, a process that is not listed may run all
    the same. `can_sudo` is None where the login is root or nobody knows; `acts_as` is another login that changes go
    through. `replayed` marks a simulated host. `details` are filled in only for a remedy that looks closer.
    """

    host: str
    taken_s: float
    now_s: float | None
    boot_id: str | None
    uptime_s: float | None
    kernel: str | None
    page_kb: int
    memory_kb: Mapping[str, int]
    swaps: tuple[Swap, ...]
    pressure: Pressure | None
    oom_kill_count: int | None
    processes: tuple[Process, ...]
    cgroups: Mapping[str, Cgroup]
    units: tuple[Unit, ...]
    kernel_log: KernelLog
    own_pids: frozenset[int] = frozenset()
    login_uid: int | None = None
    has_systemd: bool = False
    has_python: bool = False
    can_sudo: bool | None = None
    acts_as: str | None = None
    processes_whole: bool = True
    problems: tuple[str, ...] = ()
    replayed: bool = False
    details: Details = NOTHING  # what a remedy asked for besides


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A stored kill: `history` is true for what happened before the host was first seen (never posted).

    `message_key` is the one message that names it, its card or a digest; "" for history.
    """

    id: str
    host: str
    kill: OomKill
    channel: str
    seen_s: float
    history: bool = False
    message_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message that must come to stand in a channel: `key` names it for good, so that it is edited, not doubled."""

    key: str
    channel: str
    view: Json  # {"text": …, "blocks": […]}
    thread_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A Draft in the outbox: it is due while `sent_version` < `version`.

    `posting_s` is set before the first post and `ts` after it; a row with the one and not the other after a
    crash may already stand in Slack and is looked for there by its metadata.
    """

    key: str
    channel: str
    view: Json
    version: int
    sent_version: int
    thread_key: str | None = None
    channel_id: str | None = None
    ts: str | None = None
    posting_s: float | None = None
    attempts: int = 0
    not_before_s: float = 0.0
    error: str = ""
