"""Whether a unit can be held to new memory limits, and what happens then, in sentences."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from oombot import guards, limits
from oombot.details import CgroupDetails, UnitDetails
from oombot.limits import Advice, Setting, less, short, short_about
from oombot.model import HostSnapshot, OomKill
from oombot.proposals import Check
from oombot.rights import Policy
from oombot.triage.amounts import plural
from oombot.triage.limits import culprit
from oombot.triage.workloads import workload

# where systemctl set-property writes: what stands higher wins when systemd reads its files again
FOLDERS: Final = MappingProxyType(
    {
        "control": "/etc/systemd/system.control",
        "runtime": "/run/systemd/system.control",
        "transient": "/run/systemd/transient",
    }
)
Wanted = Mapping[Setting, int | None]

_WIDE = ("-.slice", "system.slice", "user.slice", "machine.slice", "init.scope")
_USERS = re.compile(r"user@[^/]*\.service|user-[^/]*\.slice|user-runtime-dir@[^/]*\.service")
_DOCKER = re.compile(r"docker-(?P<id>[0-9a-f]{12})[0-9a-f]*\.scope")
_PODMAN = re.compile(r"libpod-(?P<id>[0-9a-f]{12})[0-9a-f]*\.scope")
_PODS = re.compile(r"kubepods.*|cri-containerd-.*|crio-.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """A unit that runs, its cgroup, and the host that both are on."""

    unit: UnitDetails
    cgroup: CgroupDetails
    snapshot: HostSnapshot

    @property
    def live(self) -> dict[Setting, int | None]:
        """What the kernel holds the unit to now."""
        found = self.cgroup
        return {"MemoryHigh": found.high_b, "MemoryMax": found.max_b, "MemorySwapMax": found.swap_max_b}

    @property
    def held(self) -> dict[Setting, int | None]:
        """What systemd says it is held to."""
        unit = self.unit
        return {
            "MemoryHigh": unit.memory_high_b,
            "MemoryMax": unit.memory_max_b,
            "MemorySwapMax": unit.memory_swap_max_b,
        }

    @property
    def kinds(self) -> tuple[str, ...]:
        """Where set-property may have written for it."""
        return ("transient",) if self.unit.transient else ("control", "runtime")

    def path(self, kind: str, setting: Setting) -> str:
        """One of the files that set-property writes."""
        return f"{FOLDERS[kind]}/{self.unit.name}.d/50-{setting}.conf"

    def stood(self) -> list[str]:
        """The folders of those files that are there: `control` for the one of all units, `control/unit` for its own."""
        tops = {kind: FOLDERS[kind] for kind in self.kinds}
        own = {f"{kind}/unit": f"{top}/{self.unit.name}.d" for kind, top in tops.items()}
        return [name for name, path in (tops | own).items() if path in self.unit.folders]

    def text(self, kind: str, setting: Setting) -> str | None:
        """The text of one of them; None = it is not there."""
        path = self.path(kind, setting)
        return next((file.text for file in self.unit.files if file.path == path), None)

    def texts(self, wanted: Wanted) -> dict[str, str | None]:
        """The texts of those that a new limit may change, by kind and setting."""
        return {f"{kind}/{setting}": self.text(kind, setting) for kind in self.kinds for setting in wanted}


def why_not(unit: str) -> str:
    """Why a unit is not limited by us, with what to do instead; "" where it may be."""
    if found := _DOCKER.fullmatch(unit):
        do = f"docker update --memory 512m --memory-swap 512m {found['id']}"
        return f"{unit} is a container: change the limit where it was started, such as: {do}"
    if found := _PODMAN.fullmatch(unit):
        return f"{unit} is a container: change its limit, such as: podman update --memory 512m {found['id']}"
    if _PODS.fullmatch(unit):
        return f"{unit} belongs to Kubernetes, whose kubelet writes its limits: change resources.limits of the pod"
    if unit in _WIDE:
        return f"{unit} holds what the host can not be reached or run without: limit a service in it"
    if _USERS.fullmatch(unit):
        return f"{unit} belongs to a user's own systemd, which is not changed: systemctl --user set-property"
    if unit.endswith(".scope"):
        return f"{unit} is a scope: who made it sets its limits; services and slices can be limited here"
    if not unit.endswith((".service", ".slice")):
        return f"{unit} is no service and no slice"
    return ""


def fit(seen: Limited, wanted: Wanted, lasting: str, policy: Policy) -> list[Check]:
    """That the unit, its systemd and its kernel take these limits."""
    unit, version, reason = seen.unit, seen.cgroup.version, why_not(seen.unit.name)
    checks = [
        Check(ok=not reason, text=reason or f"{unit.name} is a service or a slice of the host's systemd")
    ]
    inside = _protected_inside(seen, policy)
    if inside:
        text = f"{inside} is in {unit.name}, and the host could not be reached or run without it"
        checks.append(Check(ok=False, text=text))
    if unit.load_state != "loaded":
        checks.append(Check(ok=False, text=f"{unit.name} is {unit.load_state}, not loaded"))
    ignored = [setting for setting in wanted if setting != "MemoryMax"]
    if version == 1 and ignored:
        text = f"this host uses cgroup v1, which ignores {' and '.join(ignored)}: only MemoryMax works there"
        checks.append(Check(ok=False, text=text))
    elif version == 1:
        checks.append(
            Check(ok=None, text="cgroup v1: MemoryMax is memory.limit_in_bytes, which does not count swap")
        )
    if unit.transient and lasting == "good":
        text = f"{unit.name} is transient (systemd-run): it is gone after a reboot, so choose until the next boot"
        checks.append(Check(ok=False, text=text))
    if unit.delegate:
        text = "it is delegated (Delegate=yes): what runs in it makes cgroups of its own, the limit is for all of them"
        checks.append(Check(ok=None, text=text))
    return checks


def _protected_inside(seen: Limited, policy: Policy) -> str:
    """A protected unit in the cgroup, the unit itself apart."""
    above = seen.unit.control_group.rstrip("/") + "/"
    paths = [process.cgroup or "" for process in seen.snapshot.processes]
    paths += [unit.control_group for unit in seen.snapshot.units]
    names = {name for path in paths if path.startswith(above) for name in path[len(above) :].split("/")}
    return next((name for name in sorted(names) if guards.is_protected(name, policy)), "")


def above_floor(seen: Limited, wanted: Wanted) -> list[Check]:
    """That a MemoryMax leaves 1.25 times what the unit can not drop."""
    cap, cgroup = wanted.get("MemoryMax"), seen.cgroup
    if cap is None:
        return []
    if cgroup.working_b is None:
        return [Check(ok=False, text="what it uses could not be read, so no cap can be judged")]
    lowest = limits.floor_b(cgroup.working_b)
    text = f"MemoryMax {short(cap)} is at least the floor, {floor_text(cgroup)}"
    if cap < lowest:
        text += f": below it the kernel would soon kill in it. At least {short(limits.rounded_up(lowest))}"
    return [Check(ok=cap >= lowest, text=text)]


def floor_text(cgroup: CgroupDetails) -> str:
    """The arithmetic of the floor."""
    if cgroup.working_b is None:
        return "not known"
    parts = f"memory.current {short_about(cgroup.current_b)} − inactive_file {short_about(cgroup.inactive_file_b)}"
    return f"1.25 × ({parts}) = {short_about(limits.floor_b(cgroup.working_b))}"


def stays(seen: Limited, wanted: Wanted, lasting: str) -> list[Check]:
    """That nothing in systemd's files would put another limit in the place of these at the next daemon-reload."""
    checks = unread(seen)
    known = {file.path for file in seen.unit.files}
    for setting in wanted:
        for kind in seen.kinds:
            if seen.path(kind, setting) not in known:
                reason = f"{seen.path(kind, setting)} could not be read, so it could not be put back"
                checks.append(Check(ok=False, text=reason))
            text = seen.text(kind, setting)
            if text is not None and not limits.is_plain(text, setting):
                path = seen.path(kind, setting)
                reason = f"{path} holds more than {setting}, so it could not be put back: change it by hand"
                checks.append(Check(ok=False, text=reason))
        kept = seen.text("control", setting)
        if lasting == "boot" and not seen.unit.transient and kept is not None:
            text = (
                f"{seen.path('control', setting)} outranks a limit until the next boot: at the next daemon-reload "
                "it would be set instead. Choose for good"
            )
            checks.append(Check(ok=False, text=text))
        later = [path for path in seen.unit.drop_in_paths if path.rpartition("/")[2] > f"50-{setting}.conf"]
        others = [
            path
            for path in later
            if not re.fullmatch(r"50-Memory(High|Max|SwapMax)\.conf", path.rpartition("/")[2])
        ]
        if others:
            text = f"{others[0]} is read after 50-{setting}.conf: the host refuses the change if it sets {setting} too"
            checks.append(Check(ok=None, text=text))
    return checks


def unread(seen: Limited) -> list[Check]:
    """That systemd has files of the unit still to read: a daemon-reload would do more than put a limit back."""
    if not seen.unit.need_daemon_reload:
        return []
    text = f"files of {seen.unit.name} were changed since systemd read them; the host looks at the files themselves"
    return [Check(ok=None, text=text)]


def own_waiting(seen: Limited, wanted: Wanted) -> list[Check]:
    """That no other limit of this unit is set along: systemd sets all that it holds."""
    settings = [one for one in limits.SETTINGS if seen.cgroup.version == 2 or one == "MemoryMax"]
    return [
        Check(
            ok=False,
            text=f"{setting} {short(seen.held[setting])} of {seen.unit.name} itself waits to be set (the kernel has "
            f"{short(seen.live[setting])}), and would be set along: give it a value too",
        )
        for setting in settings
        if setting not in wanted and _page(seen.held[setting]) != _page(seen.live[setting])
    ]


def _page(size_b: int | None) -> int | None:
    return None if size_b is None else size_b // limits.LARGEST_PAGE


def remarks(seen: Limited, wanted: Wanted) -> list[Check]:
    """What a person should know before they agree, and what does not refuse."""
    said, live, ram_b = [], seen.live, seen.snapshot.memory_kb.get("MemTotal", 0) * 1024
    high, cap = wanted.get("MemoryHigh", live["MemoryHigh"]), wanted.get("MemoryMax", live["MemoryMax"])
    if high is not None and cap is not None and high > cap:
        said.append(f"MemoryHigh {short(high)} is above MemoryMax {short(cap)}: it never acts")
    if "MemoryMax" in wanted and cap is None:
        said.append("no MemoryMax: when it leaks, the whole host runs out of memory")
    elif "MemoryMax" in wanted and cap is not None and ram_b and cap >= ram_b:
        said.append(f"MemoryMax {short(cap)} is no less than RAM ({short_about(ram_b)}): it limits nothing")
    elif "MemoryMax" in wanted and less(live["MemoryMax"], cap):
        said += _sum(seen, cap or 0, ram_b)
    if "MemorySwapMax" in wanted and less(wanted["MemorySwapMax"], seen.cgroup.swap_current_b):
        said.append(
            f"it has {short_about(seen.cgroup.swap_current_b)} in swap, which MemorySwapMax does not bring back: "
            "it only stops more"
        )
    return [Check(ok=None, text=text) for text in [*said, *_pushed_out(seen, wanted)]]


def _sum(seen: Limited, cap: int, ram_b: int) -> list[str]:
    others = {path: (one.limit_kb or 0) * 1024 or None for path, one in seen.snapshot.cgroups.items()}
    limited = {path: one for path, one in others.items() if one is None or one < (ram_b or one + 1)}
    total = limits.sum_of_limits({**limited, seen.cgroup.path: cap})
    if not ram_b or total <= ram_b:
        return []
    return [f"the limits of this host are then {short_about(total)} together, of {short_about(ram_b)} RAM"]


def _pushed_out(seen: Limited, wanted: Wanted) -> list[str]:
    """What a MemoryHigh under present use does at once."""
    high, working = wanted.get("MemoryHigh"), seen.cgroup.working_b
    if high is None or working is None or high >= working:
        return []
    excess, free = working - high, seen.snapshot.memory_kb.get("SwapFree", 0) * 1024
    swap_max = wanted.get("MemorySwapMax", seen.live["MemorySwapMax"])
    room = free if swap_max is None else max(0, min(free, swap_max - (seen.cgroup.swap_current_b or 0)))
    out = min(excess, room)
    swap = (
        f"about {short_about(out)} of it is pushed out to swap"
        if out
        else "there is no swap to push it out to"
    )
    held = f"MemoryHigh {short(high)} is below what it holds ({short_about(working)})"
    return [f"{held}: nobody is killed, but {swap}, and it is slowed down until it needs less"]


def outlook(seen: Limited, wanted: Wanted) -> list[str]:
    """What happens from now on, and the arithmetic behind the sizes."""
    unit, cgroup, live, said = seen.unit, seen.cgroup, seen.live, []
    if wanted.get("MemoryHigh") is not None:
        said.append(
            f"Above MemoryHigh {short(wanted['MemoryHigh'])} {unit.name} is throttled and its memory reclaimed; "
            "that kills nobody"
        )
    if wanted.get("MemoryMax") is not None:
        who = "it is killed whole" if cgroup.oom_group else f"a process of {unit.name} is killed"
        said.append(
            f"Above MemoryMax {short(wanted['MemoryMax'])} {who}, and nobody outside of it" + _then(unit)
        )
    for setting, value in wanted.items():
        if value is None and live[setting] is not None:
            said.append(f"{setting} {short(live[setting])} is taken away")
    said.append(f"Floor of MemoryMax: {floor_text(cgroup)}")
    if cgroup.peak_b is not None:
        advice = limits.rounded_up(cgroup.peak_b * 1.25)
        said.append(f"Observed peak {short_about(cgroup.peak_b)}; + 25 %, rounded up: {short(advice)}")
    kills, hits = cgroup.events.get("oom_kill"), cgroup.events.get("max")
    if kills or hits:
        said.append(
            f"Since it was started it hit MemoryMax {_times(hits, 'time')}, with {_times(kills, 'kill')}"
        )
    return said


def _times(count: int | None, what: str) -> str:
    """How many; what the kernel does not count is not called none."""
    return f"an unknown number of {what}s" if count is None else plural(count, what)


def _then(unit: UnitDetails) -> str:
    """What systemd does about a kill in the unit."""
    policy = {
        "stop": "systemd then stops the unit (OOMPolicy=stop)",
        "kill": "systemd then kills all of it (OOMPolicy=kill)",
        "continue": "systemd lets the rest of it run (OOMPolicy=continue)",
    }.get(unit.oom_policy)
    wait = "" if unit.restart_s is None else f" after {unit.restart_s:g} s"
    again = f"Restart={unit.restart}" + (wait if unit.restart != "no" else ": it stays down when it ends")
    return "".join(f"; {one}" for one in (policy, again if unit.restart else "") if one)


def to_raise(kill: OomKill, snapshot: HostSnapshot) -> tuple[str, Advice] | None:
    """The unit whose own limit was hit and still stands, and a higher one that the host has room for."""
    path, total_b = kill.oom_memcg or "", snapshot.memory_kb.get("MemTotal", 0) * 1024
    cgroup, unit = snapshot.cgroups.get(path), limited_unit(path)
    if cgroup is None or not unit or not cgroup.limit_kb or cgroup.limit_kb != kill.memory_limit_kb:
        return None
    room_b = snapshot.memory_kb.get("MemAvailable", 0) * 1024 - int(total_b * limits.RESERVE)
    limit_b, peak_b = cgroup.limit_kb * 1024, (kill.memory_usage_kb or 0) * 1024
    advice = limits.raised(peak_b, limit_b, room_b=room_b)
    return None if advice is None or advice.value_b >= total_b else (unit, advice)


def to_throttle(kill: OomKill, snapshot: HostSnapshot) -> tuple[str, Advice, int | None] | None:
    """The unit of the process that held most when the host ran out, what RAM leaves it, and its cgroup's version."""
    if not kill.tasks:
        return None  # nobody knows who held most
    bigger = culprit(kill)
    path = kill.task_memcg
    if bigger is not None:
        alive = (p for p in snapshot.processes if p.pid == bigger.tgid and p.comm == bigger.name)
        path = next((p.cgroup for p in alive), None)
    cgroup, unit = snapshot.cgroups.get(path or ""), limited_unit(path or "")
    memory, used_kb = snapshot.memory_kb, None if cgroup is None else cgroup.usage_kb
    if cgroup is None or used_kb is None or not unit or not {"MemTotal", "MemAvailable"} <= set(memory):
        return None
    others_kb = max(0, memory["MemTotal"] - memory["MemAvailable"] - used_kb)
    advice = limits.capped(memory["MemTotal"] * 1024, others_kb * 1024, used_kb * 1024)
    if advice is None or (cgroup.limit_kb is not None and cgroup.limit_kb * 1024 <= advice.value_b):
        return None
    return unit, advice, cgroup.version


def limited_unit(path: str) -> str:
    """The service or slice of the host's own systemd that a cgroup is, if it may be limited; else nothing."""
    found = workload(path)
    own = found.unit or (found.name if found.kind == "slice" and found.user is None else "")
    if not own or not path.endswith(f"/{own}") or why_not(own) or guards.is_protected(own, Policy()):
        return ""
    return own
