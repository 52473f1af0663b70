"""Drop clean caches of the whole host, or better: reclaim some of one unit's."""

import re
import shlex
from dataclasses import dataclass

from oombot import guards
from oombot.details import CgroupDetails, Details, KernelDetails, Look, UnitDetails, is_unit
from oombot.errors import ConfigError, RefusedError
from oombot.model import Command, HostSnapshot, Json, OomKill
from oombot.proposals import Check, Exhibit, Lasts, Plan, Risk, Step
from oombot.remediations.shape import Field, Option, Target, Usual
from oombot.rights import Policy

MIB = 1 << 20
MOST_MIB = 1 << 22  # the verb takes no more (data/oombot_caches.py)
# PSI of io, in percent of the last 10 s: from here on the disk can not bear that caches are read anew
IO_FULL, IO_SOME = 5.0, 20.0
KINDS = {1: "the page cache", 2: "dentries and inodes", 3: "the page cache, dentries and inodes"}
WAY_FORM = re.compile(r"reclaim|drop-[123]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Either `level` 1 to 3 of the whole host, or `mib` of one unit's cgroup."""

    level: int = 0
    unit: str = ""
    mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The caches, as far as they are known."""

    kernel: KernelDetails
    details: Details
    snapshot: HostSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class DropCaches(Usual):
    """The remediation; see shape.py for what each part means."""

    name: str = "drop_caches"
    label: str = "Drop or reclaim caches"
    summary: str = (
        "Free clean cache at once; it rarely helps, since the kernel does that by itself when it must."
    )
    params: type[Params] = Params
    mitigation: bool = True
    timed: bool = False

    def unfit(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> str:
        """Host-wide only where the configuration allows it; of one unit where there is a systemd that names it."""
        if policy.drop_caches:
            return ""
        if not snapshot.has_systemd:
            return "dropping caches is switched off here (policy.drop_caches), and no unit has a cgroup to reclaim from"
        if target.pid is not None and not target.unit:
            return "caches belong to a unit, not to one process (dropping all is off: policy.drop_caches)"
        return ""

    def fields(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> list[Field]:
        """One unit's cgroup first; the whole host where the configuration allows it."""
        ways = [Option(value="reclaim", label="reclaim from one unit (memory.reclaim)")]
        if policy.drop_caches:
            ways += [
                Option(value=f"drop-{level}", label=f"drop {KINDS[level]} of the host") for level in KINDS
            ]
        return [
            Field(name="way", label="What", kind="choice", options=tuple(ways), initial="reclaim"),
            Field(
                name="unit",
                label="Unit",
                kind="text",
                optional=True,
                initial=target.unit,
                hint="For reclaim: a service, a slice or a scope.",
            ),
            Field(
                name="mib",
                label="How much, in MiB",
                kind="number",
                optional=True,
                lowest=1,
                highest=MOST_MIB,
                hint="For reclaim: at most what the unit holds of inactive file cache.",
            ),
        ]

    def parse(self, values: Json) -> Params:
        """Take `way`, and for reclaim `unit` and `mib`, of the form."""
        way, unit = str(values.get("way") or ""), str(values.get("unit") or "").strip()
        if not WAY_FORM.fullmatch(way):
            raise ConfigError(["way: Choose one of them."])
        if way != "reclaim":
            return Params(level=int(way[-1]))
        problems = []
        if not _has_cgroup(unit):
            problems.append("unit: The full name of a service, slice or scope, such as api.service.")
        number = re.fullmatch(r"[1-9][0-9]{0,6}", str(values.get("mib") or "").strip(), re.ASCII)
        if number is None or int(number[0]) > MOST_MIB:
            problems.append(f"mib: A whole number from 1 to {MOST_MIB}.")
        if number is None or problems:
            raise ConfigError(problems)
        return Params(unit=unit, mib=int(number[0]))

    def suggest(self, kill: OomKill, snapshot: HostSnapshot) -> Params | None:
        """Never by itself: at a kill the kernel had taken what caches there were."""
        return None

    def look(self, params: Params, snapshot: HostSnapshot) -> Look:
        """The machine; of one unit also that and its cgroup."""
        if params.level:
            return Look(parts=("kernel",))
        return Look(parts=("kernel", "unit", "cgroup"), unit=params.unit)

    def inspect(self, params: Params, snapshot: HostSnapshot) -> Seen:
        """Find what the look has told."""
        details = snapshot.details
        missing = details.kernel is None or (not params.level and None in (details.unit, details.cgroup))
        if missing or details.kernel is None:
            why = "; ".join(details.problems) or "the host did not say why"
            raise RefusedError(f"The caches of {snapshot.host} could not be read: {why}")
        return Seen(kernel=details.kernel, details=details, snapshot=snapshot)

    def preflight(self, params: Params, seen: Seen, policy: Policy) -> list[Check]:
        """A way that is switched on and possible here, on a disk that can bear it."""
        checks = [*guards.access(seen.snapshot), _disk(seen.kernel)]
        return [
            *checks,
            *(_whole_host(params, seen, policy) if params.level else _of_unit(params, seen, policy)),
        ]

    def title(self, params: Params, seen: Seen) -> str:
        """What is dropped, or how much is reclaimed."""
        if params.level:
            return f"Drop {KINDS.get(params.level, 'caches')} of the whole host (drop_caches {params.level})"
        return f"Reclaim {params.mib} MiB of cache from {_unit(seen).name}"

    def target(self, params: Params, seen: Seen) -> str:
        """The host, or the cgroup."""
        return "the whole host" if params.level else f"{_unit(seen).name}, cgroup {_cgroup(seen).path}"

    def unit(self, params: Params, seen: Seen) -> str:
        """The unit that is reclaimed from."""
        return "" if params.level else _unit(seen).name

    def state(self, params: Params, seen: Seen) -> str:
        """How often the kernel has dropped caches; reclaim leaves no trace but free memory."""
        if not params.level:
            return f"cache of {_unit(seen).name}: taken by the kernel when memory is needed"
        return _counted(_drops(seen.kernel))

    def wanted(self, params: Params, seen: Seen) -> str:
        """Once more than before, by the kernel's own count."""
        if not params.level:
            return self.state(params, seen)
        pages, slabs = _drops(seen.kernel)
        once_more = (
            None if pages is None else pages + (params.level & 1),
            None if slabs is None else slabs + (params.level >> 1),
        )
        return _counted(once_more)

    def risk(self, params: Params, seen: Seen) -> tuple[Risk, str]:
        """Nothing is lost but time."""
        return "amber", "it costs the disk, and everybody who reads from it"

    def lasts(self, params: Params, seen: Seen) -> tuple[Lasts, str]:
        """Until the caches fill again."""
        return "boot", "until the caches fill again, often within minutes; it can not be undone"

    def plan(self, params: Params, seen: Seen, tag: str) -> list[Step]:
        """One write, without an undo; nothing where there is nothing to reclaim."""
        if params.level:
            do = Command(argv=("drop-caches", "--level", str(params.level)), sudo=True)
            by_hand = f"sync && echo {params.level} | sudo tee /proc/sys/vm/drop_caches"
            return [Step(why="so that clean caches are free memory", do=do, undo=None, by_hand=by_hand)]
        if not _cache_mib(seen):
            return []
        name = _unit(seen).name
        file = shlex.quote(f"/sys/fs/cgroup{_cgroup(seen).path}/memory.reclaim")
        return [
            Step(
                why=f"so that clean cache of {name} is free memory, and nobody else's is touched",
                do=Command(argv=("reclaim", "--unit", name, "--mib", str(params.mib)), sudo=True),
                undo=None,
                by_hand=f"echo {params.mib}M | sudo tee {file}",
            )
        ]

    def back(self, plan: Plan) -> None:
        """What was dropped can only be read again."""
        return

    def effect(self, params: Params, seen: Seen) -> list[str]:
        """What it costs and how little it brings."""
        return _effect_of_drop(params, seen) if params.level else _effect_of_reclaim(params, seen)

    def witness(self, params: Params, seen: Seen) -> Json:
        """How much the unit used before."""
        return {} if params.level else {"current_b": _cgroup(seen).current_b}

    def verify(self, params: Params, witness: Json, after: Seen) -> list[str]:
        """Where the host shows nothing of it nothing is called verified: RefusedError says what does not show."""
        if not params.level:
            was, now = witness.get("current_b"), _cgroup(after).current_b
            if was is None or now is None or now >= was:
                used = f"{_mib(was)} before, {_mib(now)} now"
                raise RefusedError(f"{_unit(after).name} uses no less than before ({used}): it does not show")
        elif None in [count for bit, count in enumerate(_drops(after.kernel), 1) if params.level & bit]:
            raise RefusedError("this kernel does not count how often caches are dropped: it does not show")
        return []

    def evidence(self, params: Params, seen: Seen) -> list[Exhibit]:
        """The memory of the host."""
        return [Exhibit(label="free -h", text=seen.kernel.free_shown)] if seen.kernel.free_shown else []


def _has_cgroup(unit: str) -> bool:
    return is_unit(unit) and unit.endswith((".service", ".slice", ".scope"))


def _unit(seen: Seen) -> UnitDetails:
    assert seen.details.unit is not None
    return seen.details.unit


def _cgroup(seen: Seen) -> CgroupDetails:
    assert seen.details.cgroup is not None
    return seen.details.cgroup


def _cache_mib(seen: Seen) -> int:
    return (_cgroup(seen).inactive_file_b or 0) // MIB


def _drops(kernel: KernelDetails) -> tuple[int | None, int | None]:
    return kernel.drops_of_pagecache, kernel.drops_of_slab


def _counted(drops: tuple[int | None, int | None]) -> str:
    pages, slabs = ("not counted" if count is None else str(count) for count in drops)
    return f"drops since boot: page cache {pages}, slab {slabs}"


def _disk(kernel: KernelDetails) -> Check:
    """That the disk does not suffer already, by PSI."""
    full, some = kernel.io_full_avg10, kernel.io_some_avg10
    if full is None or some is None:
        return Check(ok=None, text="it is not known whether the disk suffers already (no PSI of io)")
    said = f"io pressure of the last 10 s: full {full:g} %, some {some:g} %"
    if full >= IO_FULL or some >= IO_SOME:
        return Check(
            ok=False, text=f"the disk suffers already ({said}): caches would have to be read anew from it"
        )
    return Check(ok=True, text=f"the disk can bear it ({said})")


def _whole_host(params: Params, seen: Seen, policy: Policy) -> list[Check]:
    kernel = seen.kernel
    instead = "reclaim from one unit instead"
    checks = [
        Check(ok=params.level in KINDS, text="the level is 1, 2 or 3"),
        Check(
            ok=policy.drop_caches,
            text="dropping the caches of a whole host is switched on (policy.drop_caches)"
            if policy.drop_caches
            else f"dropping the caches of a whole host is switched off (policy.drop_caches): {instead}",
        ),
    ]
    if kernel.container:
        text = f"this is a container ({kernel.container}): the caches are those of its host"
        checks.append(Check(ok=False, text=text))
    hint = "the kernel's own documentation advises against it outside of tests"
    return [
        *checks,
        Check(ok=None, text=f"{hint}: everybody reads from disk again; {instead} where that is enough"),
    ]


def _of_unit(params: Params, seen: Seen, policy: Policy) -> list[Check]:
    unit, cgroup, cache = _unit(seen), _cgroup(seen), _cache_mib(seen)
    loaded = unit.load_state == "loaded" and bool(unit.control_group.strip("/"))
    checks = [
        guards.untouchable(unit.name, policy),
        Check(
            ok=_has_cgroup(unit.name) and loaded,
            text=f"{unit.name} has a cgroup ({unit.load_state}, {unit.active_state})",
        ),
        _can_reclaim(cgroup),
        Check(ok=0 < params.mib <= MOST_MIB, text=f"the amount is within 1 and {MOST_MIB} MiB"),
    ]
    if cgroup.inactive_file_b is None:
        checks.append(Check(ok=False, text="how much cache the unit holds could not be read"))
    elif cache:
        fits = params.mib <= cache
        text = f"{params.mib} MiB is not more than its inactive file cache ({cache} MiB)"
        more = f"it holds only {cache} MiB of inactive file cache: the rest would be taken from its processes"
        checks.append(Check(ok=fits, text=text if fits else more))
    return checks + _swap(seen)


def _can_reclaim(cgroup: CgroupDetails) -> Check:
    if cgroup.version != 2:
        return Check(ok=False, text="memory is limited by cgroup v1 here, which has no memory.reclaim")
    if not cgroup.can_reclaim:
        return Check(ok=False, text="this kernel has no memory.reclaim (it is of Linux 5.19)")
    return Check(ok=True, text="the kernel has memory.reclaim")


def _swap(seen: Seen) -> list[Check]:
    """That the kernel may choose memory of processes instead, where there is swap for it."""
    if not seen.snapshot.swaps or _cgroup(seen).swap_max_b == 0:
        return []
    return [
        Check(
            ok=None, text="there is swap: the kernel may push memory of its processes there instead of cache"
        )
    ]


def _mib(size_b: int | None) -> str:
    return "an unknown amount" if size_b is None else f"{size_b // MIB} MiB"


def _effect_of_drop(params: Params, seen: Seen) -> list[str]:
    kernel, memory_kb = seen.kernel, seen.snapshot.memory_kb
    available = memory_kb.get("MemAvailable")
    counted = "not known" if available is None else f"{available // 1024} MiB"
    said = [f"First writes what is dirty to disk (sync): {_mib(kernel.dirty_b)}"]
    if params.level & 1:
        said.append(
            f"Drops at most {_mib(kernel.clean_cache_b)} of clean cache; what is used is read from disk again"
        )
    if params.level & 2:
        said.append("Drops dentries and inodes: the next look-ups of files are slow")
    return [
        *said,
        (
            f"MemAvailable ({counted} now) hardly rises: clean cache counts in it already. Memory of processes and "
            "tmpfs stays as it is"
        ),
    ]


def _effect_of_reclaim(params: Params, seen: Seen) -> list[str]:
    cgroup, name = _cgroup(seen), _unit(seen).name
    return [
        (
            f"{name} uses {_mib(cgroup.current_b)}, of which {_mib(cgroup.inactive_file_b)} inactive file cache; up to "
            f"{params.mib} MiB of it become free"
        ),
        f"{name} reads again from disk what it needs of that; nobody else is touched",
        "The kernel may find less to reclaim: then a part is done, and said",
    ]


REMEDIATION = DropCaches()
