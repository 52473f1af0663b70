"""What a closer look at an ordinary host would say, for tests of remedies on the bot's side.

Each builder gives a healthy value that agrees with `a_process()` of examples.py, and a test names only what matters
to it: `a_unit(active_state="failed")`, `looked_at(a_snapshot(), unit=a_unit(), pending=())`.
"""

from dataclasses import replace
from typing import Any

from oombot.details import (
    CgroupDetails,
    Details,
    KernelDetails,
    Member,
    PendingChange,
    SwapArea,
    SwapDetails,
    UnitDetails,
    UnitFile,
)
from oombot.model import HostSnapshot

MIB = 1 << 20
DROP_IN = "/etc/systemd/system/{}.d/60-oombot.conf"
CONTROL = tuple(
    f"{folder}/{{}}.d/50-{setting}.conf"
    for folder in ("/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient")
    for setting in ("MemoryHigh", "MemoryMax", "MemorySwapMax")
)


def a_member(**values: Any) -> Member:
    """A process of the unit."""
    return replace(Member(pid=4242, start_ticks=42420, comm="java", oom_score_adj=0), **values)


def unit_files(name: str = "api.service", **texts: str) -> tuple[UnitFile, ...]:
    """The files that decide about a unit, none of them there but those given by the last parts of their paths:
    `unit_files(**{"60-oombot.conf": "[Service]\\n…", "etc/50-MemoryMax.conf": "…"})`."""
    found = []
    for form in (DROP_IN, *CONTROL):
        path = form.format(name)
        short = path.rpartition("/")[2]
        keys = (short, f"{'transient' if '/transient/' in path else path.split('/')[1]}/{short}")
        found.append(UnitFile(path=path, text=next((texts[key] for key in keys if key in texts), None)))
    return tuple(found)


def a_unit(**values: Any) -> UnitDetails:
    """api.service, active, of one java process, without limits."""
    name = values.get("name", "api.service")
    usual = UnitDetails(
        name=name,
        load_state="loaded",
        active_state="active",
        sub_state="running",
        result="success",
        type="simple",
        fragment_path=f"/etc/systemd/system/{name}",
        control_group=f"/system.slice/{name}",
        slice="system.slice",
        invocation_id="0123456789abcdef0123456789abcdef",
        main_pid=4242,
        n_restarts=0,
        restart="on-failure",
        restart_s=0.1,
        oom_policy="stop",
        oom_score_adjust=0,
        start_limit_burst=5,
        start_limit_interval_s=10.0,
        members=(a_member(),),
        files=unit_files(name),
    )
    return replace(usual, **values)


def a_cgroup(**values: Any) -> CgroupDetails:
    """Its cgroup: 300 MiB, 40 of them droppable, no limits, cgroup v2."""
    usual = CgroupDetails(
        path="/system.slice/api.service",
        version=2,
        current_b=300 * MIB,
        inactive_file_b=40 * MIB,
        peak_b=350 * MIB,
        swap_current_b=0,
        events={"low": 0, "high": 0, "max": 0, "oom": 0, "oom_kill": 0},
        oom_group=False,
        can_reclaim=True,
        pids=1,
    )
    return replace(usual, **values)


def a_swap_area(**values: Any) -> SwapArea:
    """A swap file of ours, on and unused."""
    return replace(
        SwapArea(path="/swapfile.oombot", size_b=512 * MIB, on=True, used_b=0, tag="request-1"), **values
    )


def some_swap(**values: Any) -> SwapDetails:
    """An ext4 root on a plain disk with much room, no swap there yet."""
    usual = SwapDetails(
        folder="/",
        filesystem="ext4",
        source="/dev/vda1",
        mount_point="/",
        rotational=False,
        size_b=20 << 30,
        free_b=12 << 30,
    )
    return replace(usual, **values)


def a_kernel(**values: Any) -> KernelDetails:
    """Debian 13 on cgroup v2, calm."""
    usual = KernelDetails(
        cgroup_version=2,
        systemd_version=257,
        swappiness=60,
        dirty_b=1 * MIB,
        clean_cache_b=200 * MIB,
        io_full_avg10=0.0,
        io_some_avg10=0.0,
        free_shown="               total        used        free\nMem:           981Mi       412Mi       120Mi\n",
    )
    return replace(usual, **values)


def a_pending(**values: Any) -> PendingChange:
    """A limit of db.service below its use that waits in systemd, and would kill."""
    usual = PendingChange(
        unit="db.service", setting="MemoryMax", wanted_b=100 * MIB, cgroup_b=None, usage_b=300 * MIB
    )
    return replace(usual, **values)


def looked_at(snapshot: HostSnapshot, **parts: Any) -> HostSnapshot:
    """The snapshot with these details: unit, pending, cgroup, swap, kernel, problems."""
    return replace(snapshot, details=Details(**parts))
