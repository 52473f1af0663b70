"""A part of the look: settings of the kernel, and the machine.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import fnmatch
import os
import re
from typing import Any

from oombot.data.oombot_site import Site, StepError, attempt, glance, tell
from oombot.data.oombot_systemd import hierarchy

BOOTED = "/run/systemd/system"  # is there where systemd is PID 1 (sd_booted(3))
OUR_SYSCTL = "/etc/sysctl.d/60-oombot.conf"
SYSCTL_FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
MAX_SYSCTL_FILES = 500
TIMER_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/run/systemd/transient")
OUR_TIMER = re.compile(r"oombot-back-[A-Za-z0-9_-]{1,64}\.timer")
# files that stand in containers only, and what each says where it says nothing itself
MARKS = (("/run/systemd/container", "container"), ("/run/.containerenv", "podman"), ("/.dockerenv", "docker"))


def look_kernel(site: Site, names: dict[str, str]) -> Any:
    """Kernel settings and the machine, in the shape of KernelDetails."""
    memory = _table(glance(site, "/proc/meminfo") or "")
    swappiness = (glance(site, "/proc/sys/vm/swappiness") or "").strip()
    pressure = glance_or_none(site, "/proc/pressure/io") or ""
    return {
        "cgroup_version": _cgroup_version(site),
        "systemd_version": _systemd_version(site),
        "container": container(site),
        "swappiness": int(swappiness) if swappiness.isdigit() else None,
        "swappiness_file": glance(site, OUR_SYSCTL),
        "swappiness_set_by": set_by(site, "vm/swappiness"),
        "dirty_b": memory.get("Dirty"),
        "clean_cache_b": _clean(memory),
        "io_full_avg10": _average(pressure, "full"),
        "io_some_avg10": _average(pressure, "some"),
        "free_shown": _free(site),
        "drops_of_pagecache": _event(site, "drop_pagecache"),
        "drops_of_slab": _event(site, "drop_slab"),
        "timers": _timers(site),
    }


def glance_or_none(site: Site, path: str) -> str | None:
    """What stands in a file; None where there is none, or it can not be read."""
    try:
        return glance(site, path)
    except StepError:
        return None


def _table(text: str) -> dict[str, int]:
    rows = [line.replace(":", " ").split() for line in text.splitlines()]
    return {
        row[0]: int(row[1]) << 10 for row in rows if len(row) == 3 and row[1].isdigit() and row[2] == "kB"
    }


def _clean(memory: dict[str, int]) -> int | None:
    """What a drop of caches can free at once."""
    try:
        held = memory["Cached"] + memory["Buffers"] + memory["SReclaimable"]
        return max(0, held - memory["Shmem"] - memory["Dirty"])
    except KeyError:
        return None


def _event(site: Site, name: str) -> int | None:
    """How often the kernel has done something since boot; None where it does not count that."""
    found = re.search(rf"^{name} ([0-9]+)$", glance_or_none(site, "/proc/vmstat") or "", re.MULTILINE)
    return int(found[1]) if found else None


def _average(pressure: str, kind: str) -> float | None:
    found = re.search(rf"^{kind} avg10=([0-9.]+) ", pressure, re.MULTILINE)
    return float(found[1]) if found else None


def _cgroup_version(site: Site) -> int | None:
    try:
        return hierarchy(site)[0]
    except (StepError, OSError):
        return None


def _systemd_version(site: Site) -> int | None:
    """The version of the systemd that runs; None where another program is PID 1."""
    if not os.path.isdir(site.path(BOOTED)):
        return None
    found = re.match(r"systemd ([0-9]{1,5})\b", tell(site, "systemctl", "--version"))
    return int(found[1]) if found else None


def container(site: Site) -> str:
    """What kind of container this is, "" for none; no environment is read for it."""
    for path, kind in MARKS:
        if os.path.lexists(site.path(path)):
            said = (glance_or_none(site, path) or "").strip()
            return said if re.fullmatch(r"[a-z0-9-]{1,32}", said) else kind
    if os.path.isdir(site.path("/proc/vz")) and not os.path.isdir(site.path("/proc/bc")):
        return "openvz"
    try:
        done = attempt(site, "systemd-detect-virt", "--container")
    except StepError:
        return ""
    said = done.stdout.decode("ascii", "replace").strip()
    return said if done.returncode == 0 and re.fullmatch(r"[a-z0-9-]{1,32}", said) and said != "none" else ""


def set_by(site: Site, name: str) -> list[dict[str, str]]:
    """The files besides ours that set a sysctl (its name with slashes), in the order in which they are applied."""
    found = []
    for path in _sysctl_files(site):
        value = _assigned(glance_or_none(site, path) or "", name)
        if value is not None and path != OUR_SYSCTL:
            found.append({"path": path, "value": value[:64]})
    return found


def _sysctl_files(site: Site) -> list[str]:
    """As systemd-sysctl(8) reads them: by name, of equal names that of the first folder. Where systemd is not PID 1,
    `sysctl --system` reads /etc/sysctl.conf at last."""
    by_name: dict[str, str] = {}
    for folder in SYSCTL_FOLDERS:
        try:
            names = os.listdir(site.path(folder))
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf"):
                by_name.setdefault(name, f"{folder}/{name}")
    if len(by_name) > MAX_SYSCTL_FILES:
        raise StepError(f"there are more than {MAX_SYSCTL_FILES} files that set sysctls")
    last = [] if os.path.isdir(site.path(BOOTED)) else ["/etc/sysctl.conf"]
    return [by_name[name] for name in sorted(by_name)] + last


def _assigned(text: str, name: str) -> str | None:
    """What the last line that sets it gives to a sysctl."""
    found = None
    for line in text.splitlines():
        key, sep, value = line.strip().partition("=")
        key = key.strip().lstrip("-").strip()
        if not sep or key.startswith(("#", ";")):
            continue
        plain = key if "/" in key and "." not in key.split("/", 1)[0] else key.replace(".", "/")
        if fnmatch.fnmatchcase(name, plain):
            found = value.strip()
    return found


def _free(site: Site) -> str:
    try:
        return tell(site, "free", "-h")[:2000]
    except StepError:
        return ""


def _timers(site: Site) -> list[str]:
    """Our own timers, which wait to put something back."""
    found: set[str] = set()
    for folder in TIMER_FOLDERS:
        try:
            found.update(name for name in os.listdir(site.path(folder)) if OUR_TIMER.fullmatch(name))
        except OSError:
            continue
    return sorted(found)[:100]
