"""Verbs of caches: drop clean ones host-wide, or reclaim from one cgroup.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import errno
import os

from oombot.data.oombot_policy import Policy, check_unit
from oombot.data.oombot_shape import Verb, no_input, options
from oombot.data.oombot_site import MIB, RefusedError, Site, StepError, UntouchedError, tell
from oombot.data.oombot_systemd import WITH_CGROUP, Cgroup, cgroup_at, hierarchy, show

DROP_CACHES = "/proc/sys/vm/drop_caches"
SYNC_S = 60.0
MOST_MIB = 1 << 22  # 4 TiB: more is a slip of the finger


def _drop_words(words: list[str], stdin: str) -> dict[str, int]:
    """`--level N`: 1 page cache, 2 dentries and inodes, 3 both."""
    no_input("drop-caches", stdin)
    return {"level": int(options("drop-caches", words, {"--level": "[123]"})["level"])}


def _drop_allowed(policy: Policy | None, site: Site, level: int) -> None:
    """The operation itself is all that the policy can allow here."""


def drop_caches(policy: Policy | None, site: Site, level: int) -> tuple[str, str]:
    """Write what is dirty to disk, then let the kernel drop clean caches; give the memory before and after."""
    before = _free(site)
    try:
        tell(site, "sync", seconds=SYNC_S)
    except StepError as error:
        raise UntouchedError(f"{error}; no cache was dropped") from None
    _write_once(site.path(DROP_CACHES), str(level))
    return before, _free(site)


def _free(site: Site) -> str:
    with open(site.path("/proc/meminfo"), encoding="ascii", errors="replace") as file:
        rows = dict(line.split(":", 1) for line in file if ":" in line)
    names = ("MemFree", "MemAvailable")
    return ", ".join(f"{name} {int(rows[name].split()[0]) // 1024} MiB" for name in names if name in rows)


def _write_once(path: str, text: str) -> None:
    """One write(2) to a file of the kernel; UntouchedError with its own word where it refuses."""
    try:
        handle = os.open(path, os.O_WRONLY)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise UntouchedError(f"the kernel refused {text} to {path}: {error.strerror}") from None


def _reclaim_words(words: list[str], stdin: str) -> dict[str, object]:
    """`--unit U --mib N`: the unit whose cgroup is meant, and how much."""
    no_input("reclaim", stdin)
    found = options("reclaim", words, {"--unit": WITH_CGROUP, "--mib": "[1-9][0-9]{0,6}"})
    if int(found["mib"]) > MOST_MIB:
        raise RefusedError(f"reclaim: --mib is at most {MOST_MIB}")
    return {"unit": found["unit"], "mib": int(found["mib"])}


def _reclaim_allowed(policy: Policy | None, site: Site, unit: str, mib: int) -> None:
    check_unit(policy, unit)


def reclaim(policy: Policy | None, site: Site, unit: str, mib: int) -> tuple[str, str]:
    """Let the kernel reclaim from the cgroup of a unit, at most as much as it holds of file cache.

    That the kernel found less than was asked for (EAGAIN) is said, and no failure.
    """
    if hierarchy(site)[0] != 2:
        raise UntouchedError("cgroup v1 has no memory.reclaim; nothing was changed")
    cgroup = cgroup_at(site, _path_of(site, unit))
    cache_b = sum(cgroup.stat("memory.stat", f"{kind}_file") or 0 for kind in ("inactive", "active"))
    if cache_b < mib * MIB:
        held = f"{cgroup.path} holds {cache_b // MIB} MiB of file cache by now, less than {mib} MiB"
        raise UntouchedError(
            f"{held}: the rest would be taken from the memory of its processes; nothing was changed"
        )
    before = _used(cgroup)
    partly = _reclaimed(os.path.join(cgroup.folder, "memory.reclaim"), mib)
    return before, _used(cgroup) + (f" (only a part of {mib} MiB could be reclaimed)" if partly else "")


def _path_of(site: Site, unit: str) -> str:
    """The cgroup that systemd names for a unit: nobody else chooses a path."""
    seen = show(site, unit, "Id,LoadState,ActiveState,ControlGroup")
    path = seen.get("ControlGroup", "")
    if seen.get("Id") != unit or seen.get("LoadState") != "loaded" or not path.strip("/"):
        raise UntouchedError(
            f"{unit} has no cgroup now ({seen.get('ActiveState') or 'not known'}); nothing was changed"
        )
    if not path.startswith("/") or ".." in path.split("/"):
        raise UntouchedError(f"systemd names no plain cgroup of {unit}; nothing was changed")
    return path


def _used(cgroup: Cgroup) -> str:
    used = cgroup.number("memory.current")
    return f"memory.current {'not known' if used is None else f'{used // MIB} MiB'}"


def _reclaimed(path: str, mib: int) -> bool:
    """Whether only a part could be reclaimed."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UntouchedError(
            "this kernel has no memory.reclaim (it is of Linux 5.19); nothing was changed"
        ) from None
    except OSError as error:
        raise UntouchedError(f"{path} can not be opened: {error.strerror}; nothing was changed") from None
    try:
        os.write(handle, f"{mib}M".encode())
    except OSError as error:
        if error.errno != errno.EAGAIN:
            raise StepError(f"the kernel refused to reclaim {mib} MiB: {error.strerror}") from None
        return True
    finally:
        os.close(handle)
    return False


CACHES_VERBS: dict[str, Verb] = {
    "drop-caches": Verb(words=_drop_words, allowed=_drop_allowed, act=drop_caches),
    "reclaim": Verb(words=_reclaim_words, allowed=_reclaim_allowed, act=reclaim),
}
