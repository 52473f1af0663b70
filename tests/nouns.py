"""Model values that tests of triage and views build on: one host, its processes, one kill, one request."""

from dataclasses import replace
from typing import Any

from oombot.model import Cgroup, Command, HostSnapshot, KernelLog, OomKill, Pressure, Process, Task, Unit
from oombot.proposals import Check, Plan, Request, Step

NOW_S = 1_795_395_000.0
UP_S = 3 * 86400.0
PAYMENTS = "/system.slice/payments.service"
WEB = "/system.slice/nginx.service"
POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0e6f4a5c_1b2c_4d3e_8f90_a1b2c3d4e5f6.slice"
CONTAINER = f"{POD}/cri-containerd-{'3f2a' * 16}.scope"


def process(pid: int = 4242, comm: str = "java", anon_kb: int | None = 1000, **fields: Any) -> Process:
    """One process; everything not named is plausible."""
    known: dict[str, Any] = {
        "pid": pid,
        "start_ticks": 1000 + pid,
        "ppid": 1,
        "uid": 1000,
        "comm": comm,
        "kernel_thread": False,
        "vsize_kb": 900_000,
        "rss_anon_kb": anon_kb,
        "rss_file_kb": 5000,
        "rss_shmem_kb": 0,
        "swap_kb": 0,
        "pgtables_kb": 400,
        "oom_score": 670,
        "oom_score_adj": 0,
        "cgroup": "/",
    }
    return Process(**(known | fields))


def unit(name: str = "payments.service", **fields: Any) -> Unit:
    """One service that runs."""
    known: dict[str, Any] = {
        "name": name,
        "active_state": "active",
        "sub_state": "running",
        "result": "success",
        "n_restarts": 3,
        "restart": "on-failure",
        "exec_main_status": 0,
        "exec_main_code": 0,
        "main_pid": 5120,
        "control_group": f"/system.slice/{name}",
        "since_s": NOW_S - 40,
    }
    return Unit(**(known | fields))


def failed(name: str = "report.service", **fields: Any) -> Unit:
    """One service that crashed and stays down."""
    known: dict[str, Any] = {
        "active_state": "failed",
        "sub_state": "failed",
        "result": "core-dump",
        "n_restarts": 0,
        "restart": "no",
        "exec_main_status": 11,
        "exec_main_code": 3,
        "main_pid": None,
        "control_group": "",
        "since_s": NOW_S - 4000,
    }
    return unit(name, **(known | fields))


def log(**fields: Any) -> KernelLog:
    """A kernel log that is whole since boot."""
    known: dict[str, Any] = {
        "source": "journald",
        "lines": (),
        "since_s": NOW_S - UP_S,
        "since_boot": True,
    }
    return KernelLog(**(known | fields))


def snapshot(**fields: Any) -> HostSnapshot:
    """A host on which payments.service has come back after a kill."""
    known: dict[str, Any] = {
        "host": "host42",
        "taken_s": NOW_S,
        "now_s": NOW_S,
        "boot_id": "boot1",
        "uptime_s": UP_S,
        "kernel": "6.1.0-18-amd64",
        "page_kb": 4,
        "memory_kb": {
            "MemTotal": 8_152_340,
            "MemFree": 412_000,
            "MemAvailable": 2_202_000,
            "Buffers": 50_000,
            "Cached": 2_000_000,
            "SReclaimable": 150_000,
            "Shmem": 120_000,
            "SwapTotal": 0,
            "SwapFree": 0,
        },
        "swaps": (),
        "pressure": Pressure(some_avg10=1.2, some_avg60=3.0, full_avg10=0.3, full_avg60=0.5),
        "oom_kill_count": 1,
        "processes": (
            process(1, "systemd", 9000, oom_score=0, ppid=0),
            process(
                812,
                "mysqld",
                3_100_000,
                cgroup="/system.slice/mysql.service",
                oom_score_adj=-500,
                oom_score=587,
            ),
            process(5120, "java", 1_340_000, cgroup=PAYMENTS, oom_score=776),
            process(900, "nginx", 12_000, cgroup=WEB, oom_score=668),
            process(901, "nginx", 22_000, cgroup=WEB, oom_score=668),
        ),
        "cgroups": {PAYMENTS: Cgroup(path=PAYMENTS, limit_kb=2_097_152, usage_kb=1_468_006)},
        "units": (unit(), failed()),
        "kernel_log": log(),
        "has_systemd": True,
    }
    return HostSnapshot(**(known | fields))


def task(pid: int = 4242, name: str = "java", rss_kb: int = 2_053_400, **fields: Any) -> Task:
    """One row of a report's task table."""
    known: dict[str, Any] = {
        "pid": pid,
        "tgid": pid,
        "uid": 1000,
        "name": name,
        "rss_kb": rss_kb,
        "swap_kb": 0,
        "pgtables_kb": 4600,
        "oom_score_adj": 0,
    }
    return Task(**(known | fields))


def kill(**fields: Any) -> OomKill:
    """The kill of java, which hit the limit of its own unit a minute ago."""
    known: dict[str, Any] = {
        "pid": 4242,
        "comm": "java",
        "uid": 1000,
        "total_vm_kb": 8_388_608,
        "anon_rss_kb": 1_990_000,
        "file_rss_kb": 3400,
        "shmem_rss_kb": 512,
        "pgtables_kb": 4600,
        "oom_score_adj": 0,
        "scope": "memcg",
        "constraint": "CONSTRAINT_MEMCG",
        "oom_memcg": PAYMENTS,
        "task_memcg": PAYMENTS,
        "invoker": "java",
        "time_s": NOW_S - 60,
        "boot_id": "boot1",
        "memory_usage_kb": 2_097_152,
        "memory_limit_kb": 2_097_152,
        "memory_failcnt": 812,
        "swap_total_kb": 0,
        "swap_free_kb": 0,
        "tasks": (task(),),
        "report": "java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
        "Memory cgroup out of memory: Killed process 4242 (java) total-vm:8388608kB",
    }
    return OomKill(**(known | fields))


def host_kill(**fields: Any) -> OomKill:
    """The kill of a small nginx while mysqld filled the host."""
    known: dict[str, Any] = {
        "pid": 899,
        "comm": "nginx",
        "anon_rss_kb": 12_000,
        "scope": "global",
        "constraint": "CONSTRAINT_NONE",
        "oom_memcg": None,
        "task_memcg": WEB,
        "memory_usage_kb": None,
        "memory_limit_kb": None,
        "memory_failcnt": None,
        "ram_kb": 8_152_340,
        "oom_score_adj": 500,
        "tasks": (
            task(899, "nginx", 15_400, oom_score_adj=500),
            task(812, "mysqld", 5_100_000, oom_score_adj=-500),
        ),
    }
    return kill(**(known | fields))


def plan(**fields: Any) -> Plan:
    """A plan to lower one oom_score_adj."""
    words = ("set-adj", "--pid", "5120", "--start", "6120", "--was")
    step = Step(
        why="Lower the oom_score_adj of java",
        do=Command(argv=(*words, "0", "--value", "-500"), sudo=True),
        undo=Command(argv=(*words, "-500", "--value", "0"), sudo=True),
        by_hand="echo -500 | sudo tee /proc/5120/oom_score_adj",
    )
    known: dict[str, Any] = {
        "host": "host42",
        "boot_id": "boot1",
        "remediation": "oom_score_adj",
        "params": {"pid": 5120},
        "title": "Protect a process",
        "target": "java (pid 5120) in payments.service",
        "steps": (step,),
        "checks": (
            Check(ok=True, text="java (pid 5120) lives, the same since 40 s"),
            Check(ok=None, text="it shares no cgroup limit"),
            Check(ok=False, text="the host is frozen"),
        ),
        "effect": ("Next victim of the host: java (pid 5120), then mysqld (pid 812)",),
        "before": "oom_score_adj 0",
        "after": "oom_score_adj -500",
        "lasts": "until the process exits",
        "risk": "amber",
        "mitigation": True,
        "digest": "3fa9c1d2" * 8,
    }
    return Plan(**(known | fields))


def request(state: str = "pending", **fields: Any) -> Request:
    """A request for that plan."""
    known: dict[str, Any] = {
        "id": "req-7Kq2",
        "state": state,
        "plan": plan(),
        "requester": "U0ADA0001",
        "created_s": NOW_S,
        "expires_s": NOW_S + 900,
        "incident_id": "inc-1",
    }
    return Request(**(known | fields))


changed = replace
