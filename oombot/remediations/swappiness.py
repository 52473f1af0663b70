"""Set vm.swappiness: how readily the kernel swaps, now, and at boot by a file of our own in sysctl.d."""

import re
from dataclasses import dataclass
from typing import Final

from oombot import guards
from oombot.details import KernelDetails, Look, SysctlFile
from oombot.errors import ConfigError, RefusedError
from oombot.model import Command, HostSnapshot, Json, OomKill
from oombot.proposals import Check, Exhibit, Lasts, Plan, Risk, Step
from oombot.remediations.shape import Field, Option, Target, Usual
from oombot.rights import Policy

FILE: Final = "/etc/sysctl.d/60-oombot.conf"
OURS: Final = re.compile(
    r"# oombot:(?P<tag>[A-Za-z0-9_-]{1,64})\nvm\.swappiness = (?P<value>0|[1-9][0-9]{0,2})\n", re.ASCII
)
BOOTS: Final = {
    "": "until the next boot",
    "keep": "for good (sysctl.d)",
    "drop": "until the next boot, and no longer for good",
}
USUAL: Final = "servers usually have 10 to 20, the kernel's own value is 60"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The value, and what becomes of our file for boots: "" = nothing, keep = it says the value, drop = it goes."""

    value: int
    boot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The settings as they are, in their host; `kept` is value and tag of our file."""

    kernel: KernelDetails
    snapshot: HostSnapshot
    live: int
    kept: tuple[int, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swappiness(Usual):
    """The remediation; see shape.py for what each part means."""

    name: str = "swappiness"
    label: str = "Swappiness"
    summary: str = "Let the kernel swap sooner or later than it drops caches."
    params: type[Params] = Params
    mitigation: bool = True

    def unfit(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> str:
        """Without swap it decides nothing."""
        none = snapshot.memory_kb.get("SwapTotal") == 0
        return "there is no swap, without which swappiness changes nothing" if none else ""

    def fields(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> list[Field]:
        """The value and for how long."""
        boots = tuple(Option(value=value or "boot", label=label) for value, label in BOOTS.items())
        return [
            Field(
                name="value",
                label="New vm.swappiness",
                kind="number",
                hint=USUAL[0].upper() + USUAL[1:],
                initial="10",
                lowest=0,
                highest=highest(snapshot.kernel),
            ),
            Field(name="lasts", label="For how long", kind="choice", options=boots, initial="boot"),
        ]

    def parse(self, values: Json) -> Params:
        """Take `value` and `lasts` of the form."""
        value, lasts = (str(values.get(name, "")).strip() for name in ("value", "lasts"))
        problems = []
        if not re.fullmatch(r"[0-9]{1,3}", value, re.ASCII) or int(value) > 200:
            problems.append("value: A whole number from 0 to 200.")
        if lasts not in ("boot", "keep", "drop"):
            problems.append("lasts: Choose for how long.")
        if problems:
            raise ConfigError(problems)
        return Params(value=int(value), boot="" if lasts == "boot" else lasts)

    def suggest(self, kill: OomKill, snapshot: HostSnapshot) -> Params | None:
        """It does not make memory: whoever ran out of it is not helped."""
        return None

    def look(self, params: Params, snapshot: HostSnapshot) -> Look:
        """The kernel's settings."""
        return Look(parts=("kernel",))

    def inspect(self, params: Params, snapshot: HostSnapshot) -> Seen:
        """Take the value that counts now and our file; a file of ours that others have edited is not ours any more."""
        kernel = snapshot.details.kernel
        if kernel is None or kernel.swappiness is None:
            why = "; ".join(snapshot.details.problems) or "the kernel does not say"
            raise RefusedError(f"vm.swappiness of {snapshot.host} could not be read: {why}")
        found = OURS.fullmatch(kernel.swappiness_file or "")
        if kernel.swappiness_file is not None and found is None:
            raise RefusedError(f"Somebody has edited {FILE} on {snapshot.host}: it is not touched.")
        kept = None if found is None else (int(found["value"]), found["tag"])
        return Seen(kernel=kernel, snapshot=snapshot, live=kernel.swappiness, kept=kept)

    def preflight(self, params: Params, seen: Seen, policy: Policy) -> list[Check]:
        """The guard rails of both places."""
        most = highest(seen.snapshot.kernel)
        said = f"value {params.value} is within 0 … {most} of this kernel; now {seen.live}; {USUAL}"
        checks = [*guards.access(seen.snapshot), Check(ok=0 <= params.value <= most, text=said)]
        if seen.kernel.container:
            said = f"it is a container ({seen.kernel.container}): the setting is that of the machine below it"
            checks.append(Check(ok=False, text=said))
        if seen.snapshot.memory_kb.get("SwapTotal") == 0:
            checks.append(Check(ok=False, text="there is no swap, without which swappiness changes nothing"))
        if seen.kernel.cgroup_version == 1:
            said = (
                "cgroup v1: each cgroup has a memory.swappiness of its own, and those that are there keep it"
            )
            checks.append(Check(ok=None, text=said))
        if params.value == 0:
            checks.append(
                Check(ok=None, text="0: the kernel swaps only when it hardly can not, and kills sooner")
            )
        return [*checks, *_at_boot(params, seen.kernel.swappiness_set_by)]

    def title(self, params: Params, seen: Seen) -> str:
        """Name the value and how long."""
        return f"Set vm.swappiness to {params.value}, {BOOTS[params.boot]}"

    def target(self, params: Params, seen: Seen) -> str:
        """The whole host."""
        return f"vm.swappiness of {seen.snapshot.host}"

    def unit(self, params: Params, seen: Seen) -> str:
        """The whole host."""
        return ""

    def state(self, params: Params, seen: Seen) -> str:
        """What the kernel has, and what our file says where that is to change."""
        return _said(params, seen.live, None if seen.kept is None else seen.kept[0])

    def wanted(self, params: Params, seen: Seen) -> str:
        """The same afterwards."""
        kept = {"keep": params.value, "drop": None}.get(params.boot, seen.kept[0] if seen.kept else None)
        return _said(params, params.value, kept)

    def risk(self, params: Params, seen: Seen) -> tuple[Risk, str]:
        """What the next boot has otherwise is red."""
        if params.boot:
            return "red", "it outlives a boot"
        return "amber", "a boot puts it back"

    def lasts(self, params: Params, seen: Seen) -> tuple[Lasts, str]:
        """Until the next boot, or for good."""
        if params.boot == "keep":
            return "good", f"for good: {FILE} sets it at every boot"
        if params.boot == "drop":
            return "good", f"until the next boot; {FILE} is gone for good"
        kept = f", which sets {seen.kept[0]} again ({FILE})" if seen.kept else ""
        return "boot", f"until the next boot{kept}"

    def plan(self, params: Params, seen: Seen, tag: str) -> list[Step]:
        """Our file first, then the kernel; what is right already is left alone."""
        steps = []
        if params.boot == "keep" and (seen.kept is None or seen.kept[0] != params.value):
            steps.append(_keep(params.value, tag, seen.kept))
        if params.boot == "drop" and seen.kept is not None:
            steps.append(_drop(*seen.kept))
        if seen.live != params.value:
            steps.append(_live(seen.live, params.value))
        return steps

    def back(self, plan: Plan) -> Params | None:
        """The old value, where only that was changed; files that others have changed since are left to people."""
        undo = plan.steps[-1].undo
        if len(plan.steps) != 1 or plan.params["boot"] or undo is None:
            return None
        return Params(value=int(undo.argv[-1]))

    def effect(self, params: Params, seen: Seen) -> list[str]:
        """What the kernel does otherwise, and what it does not."""
        if params.value == seen.live:
            return ["Nothing changes before the next boot"]
        swaps = (
            "later and drops more of the cache"
            if params.value < seen.live
            else "sooner and keeps more of the cache"
        )
        return [f"The kernel swaps {swaps} when memory runs short; it makes no memory, and ends no leak"]

    def evidence(self, params: Params, seen: Seen) -> list[Exhibit]:
        """Memory and swap, as the host shows them."""
        return [Exhibit(label="free -h", text=seen.kernel.free_shown)]


def highest(kernel: str | None) -> int:
    """The highest value that a kernel of this release takes: 200 since 5.8."""
    found = re.match(r"([0-9]{1,3})\.([0-9]{1,4})", kernel or "", re.ASCII)
    return 200 if found is not None and (int(found[1]), int(found[2])) >= (5, 8) else 100


def _at_boot(params: Params, others: tuple[SysctlFile, ...]) -> list[Check]:
    """That nobody sets another value after our file: the last one in the order of names counts."""
    if params.boot != "keep":
        return []
    later = [one for one in others if _comes_later(one.path)]
    if later and later[-1].value.strip() != str(params.value):
        said = f"{later[-1].path} sets {later[-1].value.strip()} at boot, after {FILE}: change it there"
        return [Check(ok=False, text=said)]
    return [Check(ok=True, text=f"no file sets another value after {FILE} at boot")]


def _comes_later(path: str) -> bool:
    """Files count by name, whatever their directory (sysctl.d(5)); sysctl.conf is read as 99-sysctl.conf."""
    return path == "/etc/sysctl.conf" or path.rpartition("/")[2] > FILE.rpartition("/")[2]


def _said(params: Params, live: int, kept: int | None) -> str:
    at_boot = f"; {FILE}: {'not there' if kept is None else kept}" if params.boot else ""
    return f"vm.swappiness: {live}{at_boot}"


def _live(was: int, value: int) -> Step:
    def write(old: int, new: int) -> Command:
        return Command(argv=("set-swappiness", "--was", str(old), "--value", str(new)), sudo=True)

    return Step(
        why="so that the kernel weighs swap against cache in another way from now on",
        do=write(was, value),
        undo=write(value, was),
        by_hand=f"sudo sysctl -w vm.swappiness={value}",
        undo_by_hand=f"sudo sysctl -w vm.swappiness={was}",
    )


def _keep(value: int, tag: str, kept: tuple[int, str] | None) -> Step:
    undo, undo_by_hand = _dropping(value, tag), f"sudo rm {FILE}"
    if kept is not None:
        undo, undo_by_hand = _writing(*kept, was=(value, tag)), _by_hand(*kept)
    return Step(
        why="so that it is the same after a boot",
        do=_writing(value, tag, was=kept),
        undo=undo,
        by_hand=_by_hand(value, tag),
        undo_by_hand=undo_by_hand,
    )


def _drop(value: int, tag: str) -> Step:
    return Step(
        why="so that oombot decides nothing at boot any more",
        do=_dropping(value, tag),
        undo=_writing(value, tag, was=None),
        by_hand=f"sudo rm {FILE}",
        undo_by_hand=_by_hand(value, tag),
    )


def _writing(value: int, tag: str, *, was: tuple[int, str] | None) -> Command:
    guard = () if was is None else ("--was-value", str(was[0]), "--was-tag", was[1])
    return Command(argv=("keep-swappiness", *guard, "--value", str(value), "--tag", tag), sudo=True)


def _dropping(value: int, tag: str) -> Command:
    return Command(argv=("drop-swappiness", "--value", str(value), "--tag", tag), sudo=True)


def _by_hand(value: int, tag: str) -> str:
    return f"printf '# oombot:{tag}\\nvm.swappiness = {value}\\n' | sudo tee {FILE}"


REMEDIATION = Swappiness()
