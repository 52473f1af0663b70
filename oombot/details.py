"""What a remedy must know of a host beyond an ordinary reading: the questions (`Look`) and the answers (`Details`).

A look is made of parts; each part is one file of the host's program (data/oombot_look.py and its siblings) and one
value here. A part that was not asked for, or could not be read, is None; `problems` says why.
Sizes ending in `_b` are bytes; None stands for "no limit" only where the field says so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Part = Literal["unit", "pending", "cgroup", "swap", "kernel"]
PARTS: Final[tuple[Part, ...]] = ("unit", "pending", "cgroup", "swap", "kernel")
# names of units as systemd allows them, without what could be an option, a path or a pattern (systemd.unit(5))
UNIT_NAME: Final = re.compile(
    r"[A-Za-z0-9_:][A-Za-z0-9:_.\\@-]{0,246}\.(?:service|slice|scope|socket|timer)", re.ASCII
)


def is_unit(name: str) -> bool:
    """Whether this can be the full name of a unit that remedies know."""
    return UNIT_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One question: the parts wanted, and what each is about; "" = that part is not about one."""

    parts: tuple[Part, ...] = ()
    unit: str = ""  # of unit: its full name
    cgroup: str = (
        ""  # of cgroup: its path below the hierarchy that limits memory, from "/"; "" = that of `unit`
    )
    folder: str = ""  # of swap: the directory that a swap file would be put in


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A process of a unit's cgroup or of one below it."""

    pid: int
    start_ticks: int
    comm: str
    oom_score_adj: int | None
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFile:
    """A file that decides about a unit: `text` None = it is not there."""

    path: str
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDetails:
    """One unit, in systemd's own words (systemctl show); None = systemd does not say, or says infinity for a limit."""

    name: str  # Id: an alias leads here
    load_state: str  # loaded, not-found, masked, …
    active_state: str
    sub_state: str
    result: str = ""
    type: str = ""
    transient: bool = False
    generated: bool = False
    fragment_path: str = ""
    drop_in_paths: tuple[str, ...] = ()
    need_daemon_reload: bool = False
    control_group: str = ""
    slice: str = ""
    invocation_id: str = ""
    main_pid: int | None = None
    n_restarts: int | None = None
    restart: str = ""
    restart_s: float | None = None
    oom_policy: str = ""
    oom_score_adjust: int | None = None
    delegate: bool = False
    start_limit_burst: int | None = None
    start_limit_interval_s: float | None = None
    refuse_manual_start: bool = False
    refuse_manual_stop: bool = False
    memory_high_b: int | None = None
    memory_max_b: int | None = None
    memory_swap_max_b: int | None = None
    dependants: tuple[str, ...] = ()  # active units that stop or restart along with it
    requires_it: tuple[str, ...] = ()  # active units that merely want or require it, and are not stopped
    conflicts: tuple[str, ...] = ()  # active units that starting it would stop
    members: tuple[Member, ...] = ()
    files: tuple[
        UnitFile, ...
    ] = ()  # our drop-in and later ones; those that `systemctl set-property` writes, kept and runtime
    folders: tuple[str, ...] = ()  # those in which `systemctl set-property` writes, as far as they are there


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingChange:
    """A memory limit that systemd holds, or that stands in its files, and that the unit's cgroup has not got yet.

    It is set, and kills, as soon as any unit of the same slice starts (measured on systemd 257).
    None = no limit; `usage_b` is memory.current without inactive file pages.
    """

    unit: str
    setting: str  # MemoryMax, MemoryHigh, MemorySwapMax
    wanted_b: int | None
    cgroup_b: int | None
    usage_b: int | None
    in_files: bool = False  # systemd has not read it yet: only a daemon-reload arms it
    unknown: str = ""  # a value in a file that is not understood; then `wanted_b` says nothing

    @property
    def kills(self) -> bool:
        """Whether setting it would kill or freeze the unit; not known counts as yes."""
        if self.setting == "MemorySwapMax":
            return False
        if self.unknown or self.wanted_b is None:
            return bool(self.unknown)
        return self.usage_b is None or self.usage_b > self.wanted_b


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupDetails:
    """One memory cgroup; limits None = no limit, other values None = not readable or not of this kernel."""

    path: str
    version: int  # 1 or 2
    current_b: int | None = None
    inactive_file_b: int | None = None
    peak_b: int | None = None
    high_b: int | None = None
    max_b: int | None = None
    swap_max_b: int | None = None
    swap_current_b: int | None = None
    events: Mapping[str, int] = field(default_factory=dict)  # memory.events
    oom_group: bool | None = None
    can_reclaim: bool = False  # memory.reclaim is there
    pids: int | None = None

    @property
    def working_b(self) -> int | None:
        """What can not be dropped at once: memory.current − inactive_file."""
        if self.current_b is None or self.inactive_file_b is None:
            return None
        return max(0, self.current_b - self.inactive_file_b)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapArea:
    """A swap file of ours: on or off, named in fstab or not."""

    path: str
    size_b: int
    on: bool
    used_b: int | None = None
    fstab_line: str = ""  # our tagged line, whole
    tag: str = ""  # of the request that made it


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapHolder:
    """A cgroup that holds swap: what swapoff would push back into it."""

    path: str
    swap_b: int
    current_b: int | None
    max_b: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapDetails:
    """What a swap file needs to know: the file system of `folder`, what is there already, and who holds swap."""

    folder: str
    filesystem: str  # ext4, xfs, btrfs, overlay, …; "" = not known
    source: str = ""  # the device
    mount_point: str = ""
    read_only: bool = False
    rotational: bool | None = None
    size_b: int | None = None
    free_b: int | None = None  # what is kept back for root is not free
    links: bool = False  # a symbolic link stands in the path of `folder`
    areas: tuple[SwapArea, ...] = ()
    holders: tuple[SwapHolder, ...] | None = ()  # None = the kernel does not count it
    fstab_wrong: str = ""  # why fstab can not be edited; "" = it can
    kubelet: bool = False
    missing: tuple[str, ...] = ()  # programs that are not there: mkswap, swapon, swapoff
    shown: str = ""  # swapon --show


@dataclass(frozen=True, slots=True, kw_only=True)
class SysctlFile:
    """A file that sets a sysctl at boot."""

    path: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelDetails:
    """Settings of the kernel and state of the machine that remedies weigh."""

    cgroup_version: int | None = None  # 1, 2; None = not mounted or not readable
    systemd_version: int | None = None
    container: str = ""  # what kind of container this is; "" = none
    swappiness: int | None = None
    swappiness_file: str | None = None  # text of our file in sysctl.d; None = it is not there
    swappiness_set_by: tuple[SysctlFile, ...] = ()  # by others, in the order in which they are applied
    dirty_b: int | None = None
    clean_cache_b: int | None = None  # Cached + Buffers + SReclaimable − Shmem − Dirty
    io_full_avg10: float | None = None
    io_some_avg10: float | None = None
    free_shown: str = ""  # free -h
    drops_of_pagecache: int | None = None  # drop_pagecache of /proc/vmstat: how often caches were dropped
    drops_of_slab: int | None = None  # drop_slab
    timers: tuple[str, ...] = ()  # our own, waiting to put something back


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """The answer to a look."""

    unit: UnitDetails | None = None
    pending: tuple[PendingChange, ...] | None = None
    cgroup: CgroupDetails | None = None
    swap: SwapDetails | None = None
    kernel: KernelDetails | None = None
    problems: tuple[str, ...] = ()
