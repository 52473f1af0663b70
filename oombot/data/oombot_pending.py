"""Memory limits that wait: held by systemd, or written in its files, and not in the cgroup yet.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).

Measured on systemd 252 and 257: a limit that waits is set, and kills, as soon as any unit of the same slice is
started, restarted or changed by set-property, and a daemon-reload arms what stands in files that were not read.
So nothing here starts, changes or reloads a unit before these were looked for.
"""

from __future__ import annotations

import os
from typing import Any

from oombot.data.oombot_files import MEMORY_SETTINGS, UnitFiles, Written
from oombot.data.oombot_site import Site, StepError, UntouchedError, glance
from oombot.data.oombot_systemd import Cgroup, hierarchy, number, show_all

LIMIT_FILES = {"MemoryMax": "memory.max", "MemoryHigh": "memory.high", "MemorySwapMax": "memory.swap.max"}
PENDING_PROPERTIES = "Id,Names,Slice,FragmentPath,NeedDaemonReload,ControlGroup,MemoryLimit," + ",".join(
    MEMORY_SETTINGS
)
MAX_UNITS = 5000


def pending(site: Site) -> list[dict[str, Any]]:
    """Every limit that waits, in the shape of PendingChange of oombot/details.py."""
    return [one for one, _said in _waiting(site)]


def check_start(site: Site, but: str = "") -> None:
    """UntouchedError where starting or changing a unit would set a limit of another one (`but` apart) that kills it."""
    waiting = [one for one, said in _waiting(site) if but not in _all_names(said)]
    _refuse_kills([one for one in waiting if not one["in_files"] and would_kill(one)])


def starting_kills(site: Site, within: str) -> bool:
    """Whether starting a unit in this slice would set a limit of the slice, or of what is right in it, that kills;
    not known counts as yes."""
    try:
        found = [one for one, said in _waiting(site) if within in (said["Id"], said.get("Slice"))]
    except (StepError, OSError, ValueError, KeyError):
        return True
    return any(not one["in_files"] and would_kill(one) for one in found)


def check_reload(site: Site, but: str = "") -> None:
    """The same for a daemon-reload, which arms what stands in files besides."""
    waiting = [one for one, said in _waiting(site) if but not in _all_names(said)]
    _refuse_kills([one for one in waiting if would_kill(one)])


def would_kill(one: dict[str, Any]) -> bool:
    """Whether setting it would kill or freeze the unit; not known counts as yes."""
    if one["setting"] == "MemorySwapMax":
        return False
    if one["unknown"] or one["wanted_b"] is None:
        return bool(one["unknown"])
    return one["usage_b"] is None or one["usage_b"] > one["wanted_b"]


def _refuse_kills(found: list[dict[str, Any]]) -> None:
    """Say what would be killed, and the command that mends it; nothing where nothing would be."""
    if not found:
        return
    one, *more = found
    unit, setting = one["unit"], one["setting"]
    mend = f"raise it in its file (systemctl cat {unit}), then systemctl daemon-reload"
    if not more and not one["in_files"]:
        limit = "infinity" if one["cgroup_b"] is None else one["cgroup_b"]
        mend = f"systemctl set-property --runtime {unit} {setting}={limit}"
    wanted = f"'{one['unknown']}' (not understood)" if one["unknown"] else _limit_text(one["wanted_b"])
    others = f", and {len(more)} more wait" if more else ""
    raise UntouchedError(
        f"{setting} {wanted} of {unit} waits to be set, and this would set it and kill what runs there: "
        f"its cgroup has {_limit_text(one['cgroup_b'])}, it uses {_use_text(one['usage_b'])}{others}. "
        f"Nothing was changed. To mend it: {mend}"
    )


def _limit_text(limit_b: int | None) -> str:
    return "no limit" if limit_b is None else f"{limit_b / (1 << 20):.0f} MiB"


def _use_text(usage_b: int | None) -> str:
    return "an unknown amount" if usage_b is None else _limit_text(usage_b)


def _all_names(said: dict[str, str]) -> list[str]:
    return said.get("Names", said["Id"]).split()


def _waiting(site: Site) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Every limit that waits, with what systemd says of its unit. On cgroup v1 there is none: they are set at once."""
    version, root = hierarchy(site)
    if version == 1 or "memory" not in (glance(site, f"{root}/cgroup.controllers") or "").split():
        return []
    units = show_all(site, PENDING_PROPERTIES, "*.service", "*.slice", "*.scope")
    if len(units) > MAX_UNITS:
        raise StepError(f"systemd has more than {MAX_UNITS} units")
    files, found = UnitFiles(site), []
    for said in units:
        cgroup = Cgroup(version, site.path(root), said.get("ControlGroup", ""))
        if not cgroup.path.strip("/") or not os.path.isdir(cgroup.folder):
            continue  # nothing runs there
        found += [(one, said) for one in _unit_waiting(site, said, cgroup, files)]
    return found


def _unit_waiting(site: Site, said: dict[str, str], cgroup: Cgroup, files: UnitFiles) -> list[dict[str, Any]]:
    found = []
    within = Site(root=cgroup.folder)  # glance: a limit that can not be read must not pass for none
    stale = said.get("NeedDaemonReload") == "yes"
    written = files.limits(said["Id"], _all_names(said), said.get("FragmentPath", ""))
    for setting in MEMORY_SETTINGS:
        held = _held_limit(said, setting)
        set_b = number(glance(within, f"/{LIMIT_FILES[setting]}"))
        one = {"unit": said["Id"], "setting": setting, "cgroup_b": set_b, "unknown": "", "in_files": False}
        if not _same_limit(held, set_b):
            found.append({**one, "wanted_b": held, "usage_b": cgroup.working_set_b()})
        wanted = written.get(setting, Written(None) if stale else Written(held))
        if wanted.unknown and not stale:
            continue  # systemd has read it, whatever it made of it
        if wanted.unknown or not _same_limit(wanted.size_b, held):
            one.update(wanted_b=wanted.size_b, unknown=wanted.unknown, in_files=True)
            found.append({**one, "usage_b": cgroup.working_set_b()})
    return found if os.path.isdir(cgroup.folder) else []  # it may have ended meanwhile


def _held_limit(said: dict[str, str], setting: str) -> int | None:
    """What systemd would set; MemoryLimit=, the setting of old, counts where none of the new ones is there."""
    if setting == "MemoryMax" and all(number(said.get(one)) is None for one in MEMORY_SETTINGS):
        return number(said.get("MemoryLimit"))
    return number(said.get(setting))


def _same_limit(one: int | None, other: int | None) -> bool:
    """Whether two limits are one, since the kernel keeps whole pages and a share of RAM is rounded."""
    if one is None or other is None:
        return one is other
    page = os.sysconf("SC_PAGE_SIZE")
    return abs(one // page - other // page) <= 1
