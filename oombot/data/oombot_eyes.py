"""Parts of the look: unit and cgroup.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any

from oombot.data.oombot_site import Site, StepError, glance, read_file
from oombot.data.oombot_systemd import (
    Cgroup,
    cgroup_at,
    number,
    show,
    show_all,
)

MAX_MEMBERS = 5000
MAX_NAMES = 300  # units that one question of systemctl is about
ROUNDS = 5  # from one unit to those that stop along with it, and on to those that stop with them
ALONG = ("BoundBy", "RequiredBy", "RequisiteOf", "ConsistsOf", "PropagatesStopTo")
WANTING = ("WantedBy", "UpheldBy")
AGAINST = ("Conflicts", "ConflictedBy")
GENERATED = ("/run/systemd/generator/", "/run/systemd/generator.early/", "/run/systemd/generator.late/")
UNIT_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,Result,Type,Transient,FragmentPath,DropInPaths,NeedDaemonReload,ControlGroup,"
    "Slice,InvocationID,MainPID,NRestarts,Restart,RestartUSec,OOMPolicy,OOMScoreAdjust,Delegate,StartLimitBurst,"
    "StartLimitIntervalUSec,RefuseManualStart,RefuseManualStop,MemoryHigh,MemoryMax,MemorySwapMax,"
    + ",".join((*ALONG, *WANTING, *AGAINST))
)
OUR_DROP_IN = "/etc/systemd/system/{}.d/60-oombot.conf"
CONTROL = "{}/systemd/system.control/{}.d/50-{}.conf"
TRANSIENT = "/run/systemd/transient/{}.d/50-{}.conf"  # where set-property writes for a unit of systemd-run
LIMITS_SET = ("MemoryHigh", "MemoryMax", "MemorySwapMax")
ANY_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,250}\.[a-z]{3,10}", re.ASCII)
SPANS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "month": 2629800.0,
    "months": 2629800.0,
    "y": 31557600.0,
}


def span(text: str | None) -> float | None:
    """A span of time as systemd prints it ("1min 30s", "100ms", "0"), in seconds; None for infinity, or for nothing."""
    found = 0.0
    for word in (text or "infinity").split():
        value = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)([a-z]*)", word, re.ASCII)
        if value is None or (value[2] and value[2] not in SPANS):
            return None
        found += float(value[1]) * SPANS.get(value[2], 1.0)
    return found


def look_unit(site: Site, names: dict[str, str]) -> Any:
    """The unit, in the shape of UnitDetails."""
    if not names["unit"]:
        raise StepError("no unit was named")
    said = show(site, names["unit"], UNIT_PROPERTIES)
    name = said.get("Id", "")
    if not name:
        raise StepError(f"systemd says nothing of {names['unit']}")
    along, active = _along(site, name, said)
    cgroup, main = said.get("ControlGroup", ""), number(said.get("MainPID"))
    return {
        **_words(said),
        **_numbers(said),
        "name": name,
        "transient": said.get("Transient") == "yes",
        "generated": said.get("FragmentPath", "").startswith(GENERATED),
        "drop_in_paths": said.get("DropInPaths", "").split(),
        "need_daemon_reload": said.get("NeedDaemonReload") == "yes",
        "main_pid": main or None,
        "restart_s": span(said.get("RestartUSec")),
        "start_limit_interval_s": span(said.get("StartLimitIntervalUSec")),
        "delegate": said.get("Delegate") == "yes",
        "refuse_manual_start": said.get("RefuseManualStart") == "yes",
        "refuse_manual_stop": said.get("RefuseManualStop") == "yes",
        "dependants": along,
        "requires_it": [one for one in _named(said, WANTING) if one in active and one not in along],
        "conflicts": [one for one in _named(said, AGAINST) if one in active],
        "members": members(site, cgroup) if cgroup else [],
        "files": [*(_unit_file(site, path) for path in _paths(name)), *_later(site, name, said)],
        "folders": [path for path in _folders(name) if os.path.isdir(site.path(path))],
    }


def _words(said: dict[str, str]) -> dict[str, str]:
    same = {"load_state": "LoadState", "active_state": "ActiveState", "sub_state": "SubState"}
    same.update({"result": "Result", "type": "Type", "fragment_path": "FragmentPath", "slice": "Slice"})
    same.update({"control_group": "ControlGroup", "invocation_id": "InvocationID", "restart": "Restart"})
    same.update({"oom_policy": "OOMPolicy"})
    return {field: said.get(key, "") for field, key in same.items()}


def _numbers(said: dict[str, str]) -> dict[str, int | None]:
    same = {"n_restarts": "NRestarts", "start_limit_burst": "StartLimitBurst", "memory_high_b": "MemoryHigh"}
    same.update({"memory_max_b": "MemoryMax", "memory_swap_max_b": "MemorySwapMax"})
    adjust = re.fullmatch(r"-?[0-9]{1,4}", said.get("OOMScoreAdjust", ""), re.ASCII)
    found = {field: number(said.get(key)) for field, key in same.items()}
    return {**found, "oom_score_adjust": int(adjust[0]) if adjust else None}


def _named(said: dict[str, str], relations: tuple[str, ...]) -> list[str]:
    """The units that stand in these properties."""
    found = [one for relation in relations for one in said.get(relation, "").split()]
    return [one for one in dict.fromkeys(found) if ANY_UNIT.fullmatch(one)]


def _along(site: Site, name: str, said: dict[str, str]) -> tuple[list[str], set[str]]:
    """The active units that stop along with this one, however far; and all active ones among those that it names."""
    along: list[str] = []
    active: set[str] = set()
    known, asked = {name}, _named(said, (*ALONG, *WANTING, *AGAINST))
    reached = set(_named(said, ALONG))
    for _ in range(ROUNDS):
        asked = [one for one in asked if one not in known]
        known.update(asked)
        if not asked:
            return along, active
        if len(known) > MAX_NAMES:
            break
        blocks = show_all(site, "Id,ActiveState," + ",".join(ALONG), *asked)
        found = [one for one in blocks if one.get("ActiveState") not in ("inactive", "failed", None)]
        active.update(one["Id"] for one in found)
        stopped = [one for one in found if one["Id"] in reached]
        along += [one["Id"] for one in stopped]
        asked = [other for one in stopped for other in _named(one, ALONG)]
        reached.update(asked)
    raise StepError(f"too many units depend on {name} to tell them all")


def members(site: Site, cgroup: str) -> list[dict[str, Any]]:
    """The processes of a cgroup, in the shape of Member; one that ends meanwhile is left out."""
    pids = cgroup_at(site, cgroup).pids()
    if len(pids) > MAX_MEMBERS:
        raise StepError(f"{cgroup} has more than {MAX_MEMBERS} processes")
    found = [_member(site, pid) for pid in pids]
    return [one for one in found if one is not None]


def _member(site: Site, pid: int) -> dict[str, Any] | None:
    try:
        text = glance(site, f"/proc/{pid}/stat")
        adj = glance(site, f"/proc/{pid}/oom_score_adj")
    except StepError:
        return None  # it ended while it was read
    if text is None or adj is None or ")" not in text:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name may hold blanks and brackets; from field 3 on
    return {
        "pid": pid,
        "start_ticks": int(fields[19]),
        "comm": text[text.index("(") + 1 : text.rindex(")")],
        "oom_score_adj": int(adj),
        "threads": int(fields[17]),
    }


def _paths(name: str) -> list[str]:
    control = [CONTROL.format(at, name, one) for at in ("/etc", "/run") for one in LIMITS_SET]
    return [OUR_DROP_IN.format(name), *control, *(TRANSIENT.format(name, one) for one in LIMITS_SET)]


def _folders(name: str) -> list[str]:
    """Where set-property writes: each folder of a unit, and what stands above it."""
    within = {os.path.dirname(path) for path in _paths(name) if path != OUR_DROP_IN.format(name)}
    return sorted({*within, *map(os.path.dirname, within)})


def _unit_file(site: Site, path: str) -> dict[str, Any]:
    data = read_file(site, path)
    return {"path": path, "text": None if data is None else data.decode("utf-8", "replace")}


def _later(site: Site, name: str, said: dict[str, str]) -> list[dict[str, Any]]:
    """Drop-ins that are read after ours and may decide instead; one that can not be read is left out."""
    ours, found = OUR_DROP_IN.format(name), []
    for path in said.get("DropInPaths", "").split():
        if path != ours and os.path.basename(path) >= os.path.basename(ours):
            with contextlib.suppress(StepError):
                found.append(_unit_file(site, path))
    return found


def look_cgroup(site: Site, names: dict[str, str]) -> Any:
    """The cgroup, or that of the unit, in the shape of CgroupDetails."""
    path = names["cgroup"]
    if not path:
        if not names["unit"]:
            raise StepError("no cgroup and no unit was named")
        path = show(site, names["unit"], "ControlGroup").get("ControlGroup", "")
        if not path:
            raise StepError(f"{names['unit']} has no cgroup: it is not running")
    cgroup = cgroup_at(site, path)
    if not os.path.isdir(cgroup.folder):
        raise StepError(f"there is no memory cgroup {path}")
    found = _cgroup_1(cgroup) if cgroup.version == 1 else _cgroup_2(cgroup)
    return {"path": path, "version": cgroup.version, "pids": len(cgroup.pids()), **found}


def _cgroup_2(cgroup: Cgroup) -> dict[str, Any]:
    events = [line.split() for line in (cgroup.text("memory.events") or "").splitlines()]
    group = cgroup.text("memory.oom.group")
    return {
        "current_b": cgroup.number("memory.current"),
        "inactive_file_b": cgroup.stat("memory.stat", "inactive_file"),
        "peak_b": cgroup.number("memory.peak"),
        "high_b": cgroup.number("memory.high"),
        "max_b": cgroup.number("memory.max"),
        "swap_max_b": cgroup.number("memory.swap.max"),
        "swap_current_b": cgroup.swap_b(),
        "events": {row[0]: int(row[1]) for row in events if len(row) == 2},
        "oom_group": None if group is None else group == "1",
        "can_reclaim": os.path.exists(os.path.join(cgroup.folder, "memory.reclaim")),
    }


def _cgroup_1(cgroup: Cgroup) -> dict[str, Any]:
    limit = cgroup.number("memory.limit_in_bytes")
    both = cgroup.number("memory.memsw.limit_in_bytes")
    kills = cgroup.stat("memory.oom_control", "oom_kill")
    hits = cgroup.number("memory.failcnt")
    return {
        "current_b": cgroup.number("memory.usage_in_bytes"),
        "inactive_file_b": cgroup.stat("memory.stat", "total_inactive_file"),
        "peak_b": cgroup.number("memory.max_usage_in_bytes"),
        "max_b": limit,
        "swap_max_b": None if both is None or limit is None else both - limit,
        "swap_current_b": cgroup.swap_b(),
        "events": {key: value for key, value in (("oom_kill", kills), ("max", hits)) if value is not None},
    }
