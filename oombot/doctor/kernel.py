"""Each host: the kernel's and systemd's settings that decide whether, whom and how loudly the OOM killer kills."""

import re
from collections.abc import Iterable

from oombot.doctor.gathered import Gathered, HostFacts
from oombot.doctor.shape import HostCheck, Line, ok, unknown, warning, wrong
from oombot.facts.settings import HostSettings

_OLDEST = (4, 15)  # the oldest kernel whose reports are read
_SYSTEMD_UNIX_TIME = 247  # systemctl show --timestamp=unix
_SYSCTL = "on the host: sudo sysctl -w {0}={1}, and the same in /etc/sysctl.d/"


def _lines(host: HostFacts, gathered: Gathered) -> Iterable[Line]:
    del gathered
    settings = host.settings
    if host.fault is not None or settings is None:
        return
    yield _version(settings)
    yield _systemd(settings)
    yield _cgroup(settings)
    yield _swap(settings)
    yield _overcommit(settings)
    yield from _panic(settings)
    yield from _voice(settings)
    yield from _pressure(settings)
    if settings.other_killers:
        names = ", ".join(settings.other_killers)
        yield warning(
            "other_killers",
            f"{names} is active: it kills by itself, and not by the kernel's OOM killer",
            "oombot follows the kernel's kills; a process that only this one killed has no card",
            f"on the host: journalctl -u {settings.other_killers[0]}",
        )


def _version(settings: HostSettings) -> Line:
    found = re.match(r"(?P<major>[0-9]{1,3})\.(?P<minor>[0-9]{1,4})", settings.kernel)
    if found is None:
        return unknown(
            "kernel",
            "its kernel's version is not known",
            "reports differ between kernels",
            "uname -r, on the host",
        )
    said = f"Linux {settings.kernel}" + (f" on {settings.machine}" if settings.machine else "")
    version = int(found["major"]), int(found["minor"])
    if version < _OLDEST:
        why = "reports of kernels before 4.15 are not tested: a kill may be read wrongly or not at all"
        return warning("kernel", said, why, "upgrade the host, or read its kills by hand")
    return ok("kernel", said)


def _systemd(settings: HostSettings) -> Line:
    if settings.systemd is None:
        init = f" (init is {settings.init})" if settings.init else ""
        return ok("systemd", f"no systemd there{init}: units and limits are not shown")
    old = (
        f"; times of units are approximate before {_SYSTEMD_UNIX_TIME}"
        if settings.systemd < _SYSTEMD_UNIX_TIME
        else ""
    )
    return ok("systemd", f"systemd {settings.systemd}{old}")


def _cgroup(settings: HostSettings) -> Line:
    if settings.cgroup1:
        return ok(
            "cgroup", "cgroup v1 for memory: limits are seen; MemoryHigh and swap limits do not work there"
        )
    if settings.cgroup2 and "memory" in settings.controllers:
        return ok("cgroup", "cgroup v2 with memory")
    if settings.cgroup2 and settings.controllers:
        return warning(
            "cgroup",
            "cgroup v2 without the memory controller",
            "no unit or container has a limit, and what each holds is not seen",
            "boot the host without cgroup_disable=memory (Raspberry Pi OS: with cgroup_enable=memory)",
        )
    if settings.cgroup2:
        why = "limits of units and containers may not be seen"
        return unknown(
            "cgroup",
            "cgroup v2; whether it counts memory is not known",
            why,
            "cat /sys/fs/cgroup/cgroup.controllers",
        )
    if settings.cut:
        return unknown(
            "cgroup", "the cgroup version is not known", "its answer ended early", "mount -t cgroup2"
        )
    return ok("cgroup", "no memory cgroups are mounted: every kill there is the whole host's")


def _swap(settings: HostSettings) -> Line:
    total, free = settings.numbers.get("SwapTotal:"), settings.numbers.get("SwapFree:")
    why = "without swap there is no slow phase before a kill: the first shortage ends a process"
    if total is None:
        return unknown("swap", "whether there is swap is not known", why, "swapon --show, on the host")
    if total == 0:
        return ok("swap", "no swap", why)
    if free is not None and free < total // 20:
        said = f"swap is {100 - 100 * free // total} % full ({total // 1024} MiB)"
        return warning(
            "swap", said, "what is short of memory now has nowhere left to go", "oombot ask, for who holds it"
        )
    return ok("swap", f"{total // 1024} MiB swap, swappiness {settings.numbers.get('vm.swappiness', '?')}")


def _overcommit(settings: HostSettings) -> Line:
    mode = settings.numbers.get("vm.overcommit_memory")
    if mode == 2:
        ratio = settings.numbers.get("vm.overcommit_ratio")
        return warning(
            "overcommit",
            "vm.overcommit_memory=2: memory is never promised beyond the commit limit"
            + (f" (ratio {ratio} %)" if ratio is not None else ""),
            "programs fail by malloc before the OOM killer is ever asked: no kill in the log does not mean no shortage",
            _SYSCTL.format("vm.overcommit_memory", 0) + ", unless that is wanted",
        )
    if mode is None:
        why = "it decides between kills and failed allocations"
        return unknown(
            "overcommit", "vm.overcommit_memory is not known", why, "sysctl vm.overcommit_memory, on the host"
        )
    return ok("overcommit", f"vm.overcommit_memory={mode} ({'heuristic' if mode == 0 else 'always granted'})")


def _panic(settings: HostSettings) -> Iterable[Line]:
    mode, restart = settings.numbers.get("vm.panic_on_oom"), settings.numbers.get("kernel.panic")
    fix = _SYSCTL.format("vm.panic_on_oom", 0)
    if mode is None:
        why = "a host that panics instead of killing leaves no kill to find"
        yield unknown(
            "panic_on_oom", "vm.panic_on_oom is not known", why, "sysctl vm.panic_on_oom, on the host"
        )
    elif mode:
        then = ", and it stays down" if restart == 0 else ""
        when = "any shortage, a cgroup's too," if mode == 2 else "a shortage of the whole host"
        said = f"vm.panic_on_oom={mode}: {when} panics the host{then}"
        why = "nothing is killed and nothing logged that outlives it: oombot sees only that the host is gone"
        yield (wrong if restart == 0 else warning)("panic_on_oom", said, why, fix)
    else:
        yield ok("panic_on_oom", "vm.panic_on_oom=0: the OOM killer kills, the host lives on")
    if settings.numbers.get("vm.oom_kill_allocating_task"):
        yield warning(
            "allocating_task",
            "vm.oom_kill_allocating_task is set: whoever asks for memory at the wrong moment dies, not the largest",
            "scores do not decide there, so oom_score_adj protects nobody and no next victim can be told",
            _SYSCTL.format("vm.oom_kill_allocating_task", 0),
        )


def _voice(settings: HostSettings) -> Iterable[Line]:
    if settings.numbers.get("vm.oom_dump_tasks") == 0:
        yield warning(
            "dump_tasks",
            "vm.oom_dump_tasks=0: reports come without the table of processes",
            "who else held memory at the time of a kill can not be told",
            _SYSCTL.format("vm.oom_dump_tasks", 1),
        )
    if "oom_kill" not in settings.numbers and not settings.cut:
        why = "lost log lines can not be told from no kills: nothing counts beside the log"
        fix = "upgrade the host to a kernel from 4.13 on"  # 8e675f7af507 brought the counter
        yield warning("counter", "its kernel does not count kills in /proc/vmstat", why, fix)


def _pressure(settings: HostSettings) -> Iterable[Line]:
    if settings.psi == "yes":
        yield ok("psi", "memory pressure is measured (PSI)")
    elif settings.psi == "off":
        why = "how long processes wait for memory is not shown"
        yield warning("psi", "PSI is built in and switched off", why, "boot the host with psi=1")
    elif settings.psi == "no":
        yield ok("psi", "its kernel has no PSI: memory pressure is not shown")
    else:
        why = "how long processes wait for memory may not be shown"
        yield unknown(
            "psi", "whether pressure is measured is not known", why, "cat /proc/pressure/memory, on the host"
        )


CHECK = HostCheck(name="kernel", rank=150, lines=_lines)
