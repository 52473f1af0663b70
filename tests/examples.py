"""Small values of every noun, so that a test names only what it is about."""

from collections.abc import Mapping
from typing import Any

from oombot.model import Cgroup, Command, HostSnapshot, KernelLog, OomKill, Process
from oombot.proposals import Check, Plan, Request, Step

GIB = 1024 * 1024
NOW = 1_790_000_000.0


def a_process(pid: int = 4242, comm: str = "java", **wanted: Any) -> Process:
    """A process of 100 MiB in /system.slice/api.service."""
    values: dict[str, Any] = {
        "start_ticks": pid * 10,
        "ppid": 1,
        "uid": 1000,
        "kernel_thread": False,
        "vsize_kb": 500_000,
        "rss_anon_kb": 100 * 1024,
        "rss_file_kb": 0,
        "rss_shmem_kb": 0,
        "swap_kb": 0,
        "pgtables_kb": 400,
        "oom_score": 670,
        "oom_score_adj": 0,
        "cgroup": "/system.slice/api.service",
    }
    return Process(pid=pid, comm=comm, **(values | wanted))


def a_snapshot(
    *processes: Process, host: str = "host42", cgroups: Mapping[str, Cgroup] | None = None, **wanted: Any
) -> HostSnapshot:
    """A host of 4 GiB without swap, read just now."""
    values: dict[str, Any] = {
        "taken_s": NOW,
        "now_s": NOW,
        "boot_id": "b" * 32,
        "uptime_s": 86400.0,
        "kernel": "6.1.0",
        "page_kb": 4,
        "memory_kb": {
            "MemTotal": 4 * GIB,
            "MemFree": GIB,
            "MemAvailable": GIB,
            "SwapTotal": 0,
            "SwapFree": 0,
        },
        "swaps": (),
        "pressure": None,
        "oom_kill_count": 0,
        "units": (),
        "kernel_log": KernelLog(source="kmsg", lines=(), since_boot=True),
        "has_python": True,
    }
    return HostSnapshot(host=host, processes=processes, cgroups=cgroups or {}, **(values | wanted))


def a_kill(pid: int = 4242, comm: str = "java", **wanted: Any) -> OomKill:
    """A cgroup kill of 1 GiB, told by a whole kill line."""
    values: dict[str, Any] = {
        "uid": 1000,
        "total_vm_kb": 2 * GIB,
        "anon_rss_kb": GIB,
        "file_rss_kb": 1024,
        "shmem_rss_kb": 0,
        "pgtables_kb": 2048,
        "oom_score_adj": 0,
        "scope": "memcg",
        "constraint": "CONSTRAINT_MEMCG",
        "oom_memcg": "/system.slice/api.service",
        "task_memcg": "/system.slice/api.service",
        "time_s": NOW - 5,
        "mono_s": 1000.0,
        "boot_id": "b" * 32,
        "report": "java invoked oom-killer: gfp_mask=0xcc0\nMemory cgroup out of memory: Killed process 4242 (java)",
    }
    return OomKill(pid=pid, comm=comm, **(values | wanted))


def a_plan(*, risk: str = "amber", **wanted: Any) -> Plan:
    """Raise a score from 0 to 500."""
    argv = ("set-adj", "--pid", "4242", "--start", "42420", "--was")
    step = Step(
        why="so that it goes first",
        do=Command(argv=(*argv, "0", "--value", "500"), sudo=True),
        undo=Command(argv=(*argv, "500", "--value", "0"), sudo=True),
        by_hand="sudo choom -p 4242 -n 500",
        undo_by_hand="sudo choom -p 4242 -n 0",
    )
    values: dict[str, Any] = {
        "host": "host42",
        "boot_id": "b" * 32,
        "remediation": "oom_score_adj",
        "params": {"pid": 4242, "start_ticks": 42420, "value": 500},
        "title": "Set oom_score_adj of java (4242) to 500",
        "target": "java, pid 4242",
        "steps": (step,),
        "checks": (Check(ok=True, text="is not PID 1"),),
        "effect": ("On the whole host, next victim: a (1) → java (4242)",),
        "before": "oom_score_adj of pid 4242: 0",
        "after": "oom_score_adj of pid 4242: 500",
        "lasts": "until the process exits",
        "mitigation": True,
        "digest": "d" * 64,
    }
    return Plan(risk=risk, **(values | wanted))  # type: ignore[arg-type]


def a_request(*, risk: str = "amber", **wanted: Any) -> Request:
    """A pending request for the plan above."""
    values: dict[str, Any] = {
        "id": "request-0001",
        "state": "pending",
        "plan": a_plan(risk=risk),
        "requester": "U0ADA0001",
        "created_s": NOW,
        "expires_s": NOW + 900,
        "channel": "oncall",
    }
    return Request(**(values | wanted))
