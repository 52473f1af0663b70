"""Set MemoryHigh, MemoryMax and MemorySwapMax of a service or a slice, until the next boot or for good."""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from oombot import guards, limits
from oombot.details import Look, is_unit
from oombot.errors import ConfigError, RefusedError
from oombot.limits import Setting, short, short_about
from oombot.model import Command, HostSnapshot, Json, OomKill
from oombot.proposals import Check, Lasts, Plan, Risk, Step
from oombot.remediations.shape import Field, Option, Target, Usual
from oombot.rights import Policy
from oombot.triage import caps
from oombot.triage.caps import Limited
from oombot.triage.workloads import workload

FIELDS: Final[Mapping[Setting, str]] = MappingProxyType(
    {"MemoryHigh": "memory_high", "MemoryMax": "memory_max", "MemorySwapMax": "memory_swap_max"}
)
OPTIONS: Final[Mapping[Setting, str]] = MappingProxyType(
    {"MemoryHigh": "--high", "MemoryMax": "--max", "MemorySwapMax": "--swap-max"}
)
LASTING: Final = (
    Option(value="boot", label="until the next boot"),
    Option(value="good", label="for good (it survives a reboot)"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The unit and its new limits: decimal bytes or `infinity`; "" leaves one as it is."""

    unit: str
    memory_high: str = ""
    memory_max: str = ""
    memory_swap_max: str = ""
    lasting: str = "boot"

    @property
    def wanted(self) -> dict[Setting, int | None]:
        """The limits to set in bytes; None = no limit."""
        given = {setting: str(getattr(self, name)) for setting, name in FIELDS.items()}
        return {setting: limits.number(value) for setting, value in given.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMax(Usual):
    """The remediation; see shape.py for what each part means."""

    name: str = "memory_max"
    label: str = "Memory limits of a unit"
    summary: str = (
        "Throttle a service (MemoryHigh), cap it so that it is killed alone (MemoryMax), or raise its limit."
    )
    params: type[Params] = Params
    mitigation: bool = False
    settle_s: float = 5.0

    def unfit(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> str:
        """It takes systemd, and a unit of the host's own that may be limited."""
        if not snapshot.has_systemd:
            return "the host does not run systemd, which holds the limits of units"
        if target.unit:
            return caps.why_not(target.unit) or _down(target.unit, snapshot)
        path = next((p.cgroup for p in snapshot.processes if p.pid == target.pid), None)
        found = workload(path)
        if target.pid is not None and found.unit is None:
            return (
                caps.why_not(found.path.rpartition("/")[2])
                or f"{found.label} is no service of the host's systemd"
            )
        return ""

    def fields(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> list[Field]:
        """The unit, the three limits (the gentle one first), and how long."""
        path = next((p.cgroup for p in snapshot.processes if p.pid == target.pid), None)
        chosen = target.unit or workload(path).unit or ""
        names = [chosen] if chosen else _units(snapshot, policy)
        size = "A size such as 512M or 2G, or infinity. Empty: it stays as it is."
        return [
            Field(
                name="unit",
                label="Unit",
                kind="choice",
                options=tuple(Option(value=name, label=name) for name in names[:100]),
                initial=chosen,
            ),
            Field(
                name="memory_high",
                label="MemoryHigh (above it: throttled, nobody is killed)",
                kind="text",
                hint=size,
                optional=True,
            ),
            Field(
                name="memory_max",
                label="MemoryMax (above it: killed, alone)",
                kind="text",
                hint=size,
                optional=True,
            ),
            Field(
                name="memory_swap_max",
                label="MemorySwapMax (swap that it may use)",
                kind="text",
                hint=size + " 0: no swap.",
                optional=True,
            ),
            Field(name="lasting", label="How long", kind="choice", options=LASTING, initial="boot"),
        ]

    def parse(self, values: Json) -> Params:
        """Take the form; every wrong field is named."""
        problems, sizes = [], {}
        unit, lasting = str(values.get("unit") or "").strip(), str(values.get("lasting") or "boot")
        if not is_unit(unit):
            problems.append("unit: Choose a unit.")
        for setting, name in FIELDS.items():
            text = str(values.get(name) or "").strip()
            sizes[name] = (limits.parsed(text) or "") if text else ""
            if text and (not sizes[name] or (sizes[name] == "0" and setting != "MemorySwapMax")):
                problems.append(f"{name}: A size in whole MiB, such as 512M or 2G, or infinity.")
        if not problems and not any(sizes.values()):
            problems.append("memory_high: Fill in at least one of the limits.")
        if lasting not in {option.value for option in LASTING}:
            problems.append("lasting: Choose how long.")
        if problems:
            raise ConfigError(problems)
        return Params(unit=unit, lasting=lasting, **sizes)

    def suggest(self, kill: OomKill, snapshot: HostSnapshot) -> Params | None:
        """Raise a limit that was hit; throttle the unit that took the host down."""
        if not snapshot.has_systemd:
            return None
        if kill.scope == "memcg":
            found = caps.to_raise(kill, snapshot)
            return found and Params(unit=found[0], memory_max=str(found[1].value_b))
        host = caps.to_throttle(kill, snapshot) if kill.scope == "global" else None
        if host is None:
            return None
        unit, advice, version = host
        return Params(unit=unit, **{"memory_max" if version == 1 else "memory_high": str(advice.value_b)})

    def look(self, params: Params, snapshot: HostSnapshot) -> Look:
        """The unit, its cgroup, and what waits to be set elsewhere."""
        return Look(parts=("unit", "pending", "cgroup", "kernel"), unit=params.unit)

    def inspect(self, params: Params, snapshot: HostSnapshot) -> Limited:
        """Find the unit; one that is not there, or could not be read, is not guessed."""
        details = snapshot.details
        why = "; ".join(details.problems)
        if details.unit is None:
            raise RefusedError(f"{params.unit} on {snapshot.host} could not be read: {why or 'no answer'}.")
        if details.unit.load_state == "not-found":
            raise RefusedError(f"There is no unit {params.unit} on {snapshot.host}.")
        if details.unit.active_state in ("inactive", "failed") or not details.unit.control_group:
            raise RefusedError(
                f"{params.unit} is not running on {snapshot.host} ({details.unit.active_state}): "
                "there is nothing to limit yet. Start it first."
            )
        if details.cgroup is None:
            raise RefusedError(f"The cgroup of {params.unit} on {snapshot.host} could not be read: {why}.")
        return Limited(unit=details.unit, cgroup=details.cgroup, snapshot=snapshot)

    def preflight(self, params: Params, seen: Limited, policy: Policy) -> list[Check]:
        """The guard rails of a limit."""
        snapshot, unit = seen.snapshot, seen.unit
        return [
            *guards.access(snapshot),
            guards.untouchable(unit.name, policy),
            *caps.fit(seen, params.wanted, params.lasting, policy),
            *caps.above_floor(seen, params.wanted),
            *caps.stays(seen, params.wanted, params.lasting),
            *guards.waiting(snapshot.details, "set-property", but=unit.name),
            *caps.own_waiting(seen, params.wanted),
            *caps.remarks(seen, params.wanted),
        ]

    def title(self, params: Params, seen: Limited) -> str:
        """Name the unit and its new limits."""
        return f"Set {_words(params.wanted)} of {seen.unit.name}"

    def target(self, params: Params, seen: Limited) -> str:
        """Name the unit and its cgroup."""
        return f"{seen.unit.name}, cgroup {seen.cgroup.path}"

    def unit(self, params: Params, seen: Limited) -> str:
        """The unit."""
        return seen.unit.name

    def state(self, params: Params, seen: Limited) -> str:
        """What the kernel holds it to, and what stands in the files that set-property writes."""
        return _state(params, seen.live, seen.texts(params.wanted))

    def wanted(self, params: Params, seen: Limited) -> str:
        """The same with the new limits."""
        kind = "transient" if seen.unit.transient else "control" if params.lasting == "good" else "runtime"
        new = {f"{kind}/{setting}": f"{setting}={limits.word(b)}" for setting, b in params.wanted.items()}
        return _state(params, params.wanted, {**seen.texts(params.wanted), **new})

    def risk(self, params: Params, seen: Limited) -> tuple[Risk, str]:
        """A cap under current use is refused; a new or lower cap is red, a higher one amber."""
        wanted, working = params.wanted, seen.cgroup.working_b
        cap = wanted.get("MemoryMax")
        if cap is not None and (working is None or cap < working):
            return "black", f"a cap under current use ({short(cap)}, it holds {short_about(working)})"
        lowered = [setting for setting, value in wanted.items() if limits.less(value, seen.live[setting])]
        if lowered:
            return "red", f"a new or lower cap ({', '.join(lowered)})"
        if params.lasting == "good":
            return "red", "it outlives a reboot"
        return "amber", "it raises a limit"

    def lasts(self, params: Params, seen: Limited) -> tuple[Lasts, str]:
        """As long as was asked for; a transient unit takes it along when it ends."""
        if params.lasting == "good":
            return "good", "for good: it survives a reboot"
        if seen.unit.transient:
            return "boot", "until the unit ends, which is transient, or the next boot"
        return "boot", "until the next boot"

    def plan(self, params: Params, seen: Limited, tag: str) -> list[Step]:
        """One atomic call, undone byte for byte."""
        wanted, texts = params.wanted, seen.texts(params.wanted)
        holds = all(seen.live[setting] == size_b for setting, size_b in wanted.items())
        if holds and (params.lasting == "boot" or self.state(params, seen) == self.wanted(params, seen)):
            return []
        live, runtime = {setting: seen.live[setting] for setting in wanted}, params.lasting == "boot"
        lasting, files = ("--lasting", params.lasting), ("--files", digest(texts))
        stdin = json.dumps(texts, sort_keys=True)
        do = ("set-memory", "--unit", seen.unit.name, *lasting, *_pairs(wanted, live), *files)
        stood = ",".join(seen.stood())
        undo = ("restore-memory", "--unit", seen.unit.name, *_pairs(live, wanted))
        undo += ("--stood", stood) if stood else ()
        return [
            Step(
                why=_why(wanted, live),
                do=Command(argv=do, sudo=True),
                undo=Command(argv=undo, stdin=stdin, sudo=True),
                by_hand=_set_property(seen.unit.name, wanted, runtime=runtime),
                undo_by_hand=_restore_by_hand(seen, live, texts),
            )
        ]

    def back(self, plan: Plan) -> Params | None:
        """The limits that the plan's undo would set again, as long as the plan's would last."""
        undo = plan.steps[0].undo
        assert undo is not None
        given = dict(zip(undo.argv[1::2], undo.argv[2::2], strict=True))
        old = {FIELDS[setting]: given.get(option, "") for setting, option in OPTIONS.items()}
        return replace(Params(**plan.params), **old)

    def effect(self, params: Params, seen: Limited) -> list[str]:
        """What happens from now on, and the arithmetic behind the sizes."""
        return caps.outlook(seen, params.wanted)

    def witness(self, params: Params, seen: Limited) -> Json:
        """How many the kernel has killed there so far, and which run of the unit it is."""
        return {"oom_kill": seen.cgroup.events.get("oom_kill"), "invocation": seen.unit.invocation_id}

    def verify(self, params: Params, witness: Json, after: Limited) -> list[str]:
        """Nobody may have been killed by it."""
        name, was, now = after.unit.name, witness.get("oom_kill"), after.cgroup.events.get("oom_kill")
        if after.unit.invocation_id != witness.get("invocation"):
            return [f"{name} was restarted meanwhile"]
        if after.cgroup.version == 2 and None in (was, now):
            raise RefusedError(
                f"memory.events of {name} could not be read: it is not known whether anybody was killed"
            )
        if was != now:
            return [f"the kernel has killed in {name} since: oom_kill of memory.events {was} → {now}"]
        return []

    def undoable(self, plan: Plan, seen: Limited) -> list[Check]:
        """Neither the old limits may kill, nor what set-property and daemon-reload would set besides."""
        old, details = self.back(plan), seen.snapshot.details
        assert old is not None
        checks = [
            *guards.waiting(details, "set-property", but=seen.unit.name, in_files=True),
            *caps.unread(seen),
        ]
        if limits.less(old.wanted.get("MemoryMax"), seen.live["MemoryMax"]):
            checks += caps.above_floor(seen, old.wanted)
        return checks


def _units(snapshot: HostSnapshot, policy: Policy) -> list[str]:
    """Running services and slices that may be limited, the largest first."""
    used = {
        path.rpartition("/")[2]: cgroup.usage_kb or 0
        for path, cgroup in snapshot.cgroups.items()
        if workload(path).kind in ("unit", "slice") and workload(path).user is None
    }
    running = {unit.name: used.get(unit.name, 0) for unit in snapshot.units if unit.control_group}
    slices = {name: size for name, size in used.items() if name.endswith(".slice")}
    names = {name: size for name, size in (running | slices).items() if is_unit(name)}
    fit = [name for name in names if not caps.why_not(name) and not guards.is_protected(name, policy)]
    return sorted(fit, key=lambda name: (-names[name], name))


def _down(name: str, snapshot: HostSnapshot) -> str:
    """Why a unit that does not run can not be limited yet; "" where it runs or was not read."""
    unit = next((unit for unit in snapshot.units if unit.name == name), None)
    if unit is None or unit.active_state not in ("inactive", "failed"):
        return ""
    return f"{name} is not running ({unit.active_state}): start it first"


def digest(texts: Mapping[str, str | None]) -> str:
    """What binds a change to the files that were seen; the host's helper makes the same from what stands there."""
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def _pairs(new: caps.Wanted, was: caps.Wanted) -> Iterator[str]:
    """`--max NEW --max-was OLD` for each limit."""
    for setting, size_b in new.items():
        option = OPTIONS[setting]
        yield from (option, limits.word(size_b), f"{option}-was", limits.word(was[setting]))


def _state(params: Params, live: caps.Wanted, texts: Mapping[str, str | None]) -> str:
    """Limits and files in one comparable line."""
    said = []
    for setting in params.wanted:
        files = [
            f"{kind} {_in_file(text, setting)}"
            for kind in ("control", "runtime", "transient")
            if (text := texts.get(f"{kind}/{setting}")) is not None
        ]
        said.append(f"{setting} {short(live[setting])} ({', '.join(files) or 'no file of set-property'})")
    return "; ".join(said)


def _in_file(text: str, setting: Setting) -> str:
    value = limits.said(text, setting)
    try:
        return "says nothing" if value is None else short(limits.as_bytes(value))
    except ValueError:
        return str(value)


def _words(sizes: caps.Wanted) -> str:
    return " ".join(f"{setting}={short(size_b)}" for setting, size_b in sizes.items())


def _why(wanted: caps.Wanted, live: caps.Wanted) -> str:
    if any(limits.less(size_b, live[setting]) for setting, size_b in wanted.items()):
        return "so that it is this unit that is held back when it grows, and not its neighbours"
    return "so that the unit is no longer stopped by a limit that is too low for it"


def _set_property(unit: str, sizes: caps.Wanted, *, runtime: bool) -> str:
    words = ["sudo", "systemctl", "set-property", *(["--runtime"] if runtime else []), "--", unit]
    return shlex.join([*words, *(f"{setting}={short(size_b)}" for setting, size_b in sizes.items())])


def _restore_by_hand(seen: Limited, live: caps.Wanted, texts: Mapping[str, str | None]) -> str:
    """One line: the old value live, then the files as they were, then systemd told."""
    said = [_set_property(seen.unit.name, live, runtime=True)]
    for key, text in texts.items():
        kind, setting = key.split("/")
        path = shlex.quote(f"{caps.FOLDERS[kind]}/{seen.unit.name}.d/50-{setting}.conf")
        escaped = "" if text is None else text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
        put = f"printf %b {shlex.quote(escaped)} | sudo tee -- {path} >/dev/null"
        said.append(f"sudo rm -f -- {path}" if text is None else put)
    return " && ".join([*said, "sudo systemctl daemon-reload"])


REMEDIATION = MemoryMax()
