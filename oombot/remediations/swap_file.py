"""Add, grow or remove a swap file of ours, FOLDER/oombot-TAG.swap."""

import re
import shlex
from dataclasses import dataclass, replace

from oombot import guards, swapping
from oombot.details import Look, SwapArea
from oombot.errors import ConfigError, RefusedError
from oombot.model import Command, HostSnapshot, Json, OomKill
from oombot.proposals import Check, Exhibit, Lasts, Plan, Risk, Step
from oombot.remediations.shape import Field, Option, Target, Usual
from oombot.rights import Policy
from oombot.swapping import (
    LEAST_MIB,
    MIB,
    MOST_MIB,
    PATH,
    USUAL_MOST_MIB,
    Params,
    Seen,
    added_mib,
    area_said,
    arithmetic,
    fstab_line,
    in_words,
    is_folder,
    is_path,
    leave_mib,
    ours_said,
    room_to_swap_off,
)

ACTIONS = {
    "add": "Add a swap file",
    "grow": "Grow ours to a total",
    "remove": "Remove one of ours",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapFile(Usual):
    """The remediation; see shape.py for what each part means."""

    name: str = "swap_file"
    label: str = "Swap file"
    summary: str = "Let memory that is seldom used move to the disk, so that the host runs out later."
    params: type[Params] = Params
    mitigation: bool = True

    def unfit(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> str:
        """Kubernetes nodes run without, and a cgroup that may not swap gains nothing."""
        if any(p.comm == "kubelet" for p in snapshot.processes):
            return "it is a Kubernetes node: kubelet counts on there being no swap"
        paths = [unit.control_group for unit in snapshot.units if target.unit and unit.name == target.unit]
        if any(path in snapshot.cgroups and snapshot.cgroups[path].swap_limit_kb == 0 for path in paths):
            return f"{target.unit} may not swap (memory.swap.max is 0), so that a swap file can not help it"
        return ""

    def fields(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> list[Field]:
        """What to do, how large, where, and for how long."""
        ours = [swap.name for swap in snapshot.swaps if PATH.fullmatch(swap.name)]
        hint = f"Empty: the least of RAM, a quarter of the disk's spare room and {USUAL_MOST_MIB}. Grow: the new total."
        lasts = (
            Option(value="boot", label="until the next boot"),
            Option(value="good", label="for good (fstab)"),
        )
        actions = tuple(Option(value=value, label=label) for value, label in ACTIONS.items())
        return [
            Field(name="action", label="What", kind="choice", options=actions, initial="add"),
            Field(
                name="mib",
                label="Size in MiB",
                kind="number",
                hint=hint,
                optional=True,
                lowest=LEAST_MIB,
                highest=min(MOST_MIB, policy.swap_max_mib),
            ),
            Field(name="lasts", label="On", kind="choice", options=lasts, initial="boot"),
            Field(name="folder", label="Folder of a new one", kind="text", initial=policy.swap_folder),
            Field(
                name="leave",
                label="Disk to leave free, in MiB",
                kind="number",
                hint="10 % of the disk always stay free.",
                initial=str(policy.swap_reserve_mib),
                lowest=0,
                highest=MOST_MIB,
            ),
            Field(
                name="path",
                label="File to remove",
                kind="text",
                hint="/oombot-….swap",
                initial=next(iter(ours), ""),
                optional=True,
            ),
        ]

    def parse(self, values: Json) -> Params:
        """Take `action`, `mib`, `lasts`, `folder`, `leave` and `path` of the form, as far as the action needs them."""
        said = {
            name: str(values.get(name) or "").strip() for name in ("action", "mib", "lasts", "folder", "path")
        }
        leave = str(values.get("leave") if values.get("leave") is not None else "").strip()
        action, mib, path = said["action"], said["mib"], said["path"]
        problems = [] if action in ACTIONS else ["action: Choose what to do."]
        if action == "remove":
            if not is_path(path):
                problems.append("path: The whole path of a swap file of oombot, /…/oombot-….swap.")
            if problems:
                raise ConfigError(problems)
            return Params(
                action=action, path=path, leave_mib=int(leave) if re.fullmatch(r"[0-9]{1,7}", leave) else 2048
            )
        empty = action == "add" and not mib
        if not empty and not (re.fullmatch(r"[0-9]{1,7}", mib) and LEAST_MIB <= int(mib) <= MOST_MIB):
            problems.append(f"mib: A whole number of MiB from {LEAST_MIB} to {MOST_MIB}.")
        if said["lasts"] not in ("boot", "good"):
            problems.append("lasts: Choose for how long.")
        if not is_folder(said["folder"]):
            problems.append("folder: A plain absolute path, of letters, digits and _ + @ : . - only.")
        if not re.fullmatch(r"[0-9]{1,7}", leave):
            problems.append("leave: A whole number of MiB.")
        if problems:
            raise ConfigError(problems)
        folder, keep = said["folder"].rstrip("/") or "/", said["lasts"] == "good"
        return Params(action=action, mib=int(mib or 0), folder=folder, keep=keep, leave_mib=int(leave))

    def suggest(self, kill: OomKill, snapshot: HostSnapshot) -> Params | None:
        """Offer one after the whole host ran out without any swap.

        A limit of a cgroup is its own business, and a host whose swap was not used up needs no more of it.
        """
        whole = kill.scope == "global" and kill.constraint in (None, "CONSTRAINT_NONE")
        none = snapshot.memory_kb.get("SwapTotal") == 0 and not kill.swap_total_kb
        return Params() if whole and none and not self.unfit(snapshot, Target(), Policy()) else None

    def look(self, params: Params, snapshot: HostSnapshot) -> Look:
        """Swap around the folder, and the kernel."""
        folder = params.path.rpartition("/")[0] or "/" if params.action == "remove" else params.folder or "/"
        return Look(parts=("swap", "kernel"), folder=folder)

    def inspect(self, params: Params, snapshot: HostSnapshot) -> Seen:
        """Take the two parts of the look."""
        swap, kernel = snapshot.details.swap, snapshot.details.kernel
        if swap is None or kernel is None:
            why = "; ".join(snapshot.details.problems) or "no answer to the look"
            raise RefusedError(f"Swap of {snapshot.host} could not be read: {why}")
        area = next((area for area in swap.areas if area.path == params.path), None)
        return Seen(swap=swap, kernel=kernel, snapshot=snapshot, area=area)

    def preflight(self, params: Params, seen: Seen, policy: Policy) -> list[Check]:
        """The guard rails of the action."""
        checks = guards.access(seen.snapshot)
        missing = ", ".join(seen.swap.missing)
        said = f"not installed: {missing}" if missing else "mkswap, swapon and swapoff are there"
        checks.append(Check(ok=not missing, text=said))
        if params.action == "remove":
            return [*checks, *swapping.removable(seen.area, seen)]
        return [
            *checks,
            *swapping.place(params, seen, policy),
            *swapping.size(params, seen, policy),
            *swapping.persistence(params, seen),
        ]

    def title(self, params: Params, seen: Seen) -> str:
        """Name the action and the size, or the file."""
        if params.action == "remove":
            return f"Remove the swap file {params.path}"
        if params.action == "grow":
            return f"Grow oombot's swap to {params.mib} MiB"
        return f"Add a swap file of {added_mib(params, seen)} MiB"

    def target(self, params: Params, seen: Seen) -> str:
        """Name the file, or the disk it comes on."""
        swap = seen.swap
        if params.action == "remove":
            return params.path
        return (
            f"a new file in {swap.folder} ({swap.filesystem} on {swap.source}, mounted at {swap.mount_point})"
        )

    def unit(self, params: Params, seen: Seen) -> str:
        """The whole host."""
        return ""

    def state(self, params: Params, seen: Seen) -> str:
        """The file to remove, or all of ours: size, on or off, kept or not."""
        if params.action == "remove":
            return f"{params.path}: {'not there' if seen.area is None else area_said(seen.area)}"
        return ours_said([area_said(area) for area in seen.swap.areas])

    def wanted(self, params: Params, seen: Seen) -> str:
        """The same afterwards."""
        if params.action == "remove":
            return f"{params.path}: not there"
        added = in_words(added_mib(params, seen), on=True, kept=params.keep)
        return ours_said([*(area_said(area) for area in seen.swap.areas), added])

    def risk(self, params: Params, seen: Seen) -> tuple[Risk, str]:
        """What a boot brings back, or no longer does, is red."""
        if params.action == "remove":
            kept = seen.area is not None and bool(seen.area.fstab_line)
            return (
                ("red", "it would be on after a boot") if kept else ("amber", "it would be off after a boot")
            )
        return ("red", "it outlives a boot") if params.keep else ("amber", "it is off after the next boot")

    def lasts(self, params: Params, seen: Seen) -> tuple[Lasts, str]:
        """Until the next boot, or for good."""
        if params.action == "remove":
            kept = seen.area is not None and bool(seen.area.fstab_line)
            return (
                ("good", "for good")
                if kept
                else ("boot", "the file is gone; after a boot it would be off anyway")
            )
        if params.keep:
            return "good", "for good: fstab switches it on at every boot"
        return (
            "boot",
            "until the next boot; then it is off, and its file stays on the disk until it is removed",
        )

    def plan(self, params: Params, seen: Seen, tag: str) -> list[Step]:
        """Make, keep, switch on; or switch off, forget, delete. What is there already is left out."""
        nocow = seen.swap.filesystem == "btrfs"
        if params.action == "remove":
            return _removal(seen.area, leave_mib(params, seen), nocow=nocow) if seen.area is not None else []
        mib, path = added_mib(params, seen), f"{seen.swap.folder.rstrip('/')}/oombot-{tag}.swap"
        if mib <= 0:
            return []
        if any(area.path == path for area in seen.swap.areas):
            raise RefusedError(f"{path} is there already: this very request has made it.")
        steps = [_make(path, mib, leave_mib(params, seen), nocow=nocow)]
        return [*steps, *([_keep(path)] if params.keep else []), _on(path)]

    def back(self, plan: Plan) -> Params | None:
        """Remove exactly the file that it made; a removed one is not made again over what others did meanwhile."""
        if plan.params["action"] == "remove":
            return None
        return Params(action="remove", path=made_by(plan), leave_mib=plan.params["leave_mib"])

    def effect(self, params: Params, seen: Seen) -> list[str]:
        """How much swap there is then, and who gains nothing."""
        total = seen.snapshot.memory_kb.get("SwapTotal", 0) // 1024
        if params.action == "remove":
            size = seen.area.size_b // MIB if seen.area is not None and seen.area.on else 0
            return [f"Swap of the host: {total} MiB → {max(0, total - size)} MiB"]
        added = added_mib(params, seen)
        said = [f"Swap of the host: {total} MiB → {total + added} MiB ({arithmetic(params, seen)})"]
        barred = sorted(path for path, one in seen.snapshot.cgroups.items() if one.swap_limit_kb == 0)
        if barred:
            more = f" and {len(barred) - 3} more" if len(barred) > 3 else ""
            said.append(f"Gain nothing, since they may not swap: {', '.join(barred[:3])}{more}")
        if params.action == "grow":
            said.append("A swap file that is on can not grow: a second one of ours is put beside it")
        return said

    def evidence(self, params: Params, seen: Seen) -> list[Exhibit]:
        """What the host itself shows."""
        shown = seen.swap.shown or "(no swap)"
        return [
            Exhibit(label="swapon --show", text=shown),
            Exhibit(label="free -h", text=seen.kernel.free_shown),
        ]

    def undoable(self, plan: Plan, seen: Seen) -> list[Check]:
        """Memory, and every cgroup that holds swap, must be able to take it back."""
        if plan.params["action"] == "remove":
            return []
        area = next((area for area in seen.swap.areas if area.path == made_by(plan)), None)
        return [] if area is None else room_to_swap_off(area, seen)


def made_by(plan: Plan) -> str:
    """The path of the file that a plan makes: its first step says it."""
    argv = plan.steps[0].do.argv
    return argv[argv.index("--path") + 1]


def _verb(name: str, path: str, *more: str) -> Command:
    return Command(argv=(name, "--path", path, *more), sudo=True)


def _make(path: str, mib: int, leave: int, *, nocow: bool) -> Step:
    """Write it, as root's and 0600 from its first moment, past the page cache, without holes."""
    quoted = shlex.quote(path)
    first = f"touch {quoted} && chattr +C {quoted} && " if nocow else ""
    write = f"dd if=/dev/zero of={quoted} bs=1M count={mib} oflag=direct conv=fsync && mkswap {quoted}"
    return Step(
        why="so that there is a place on the disk that memory can move to",
        do=_verb("make-swap", path, "--mib", str(mib), "--leave", str(leave)),
        undo=_verb("remove-swap", path, "--bytes", str(mib * MIB)),
        by_hand=f"sudo sh -c {shlex.quote(f'umask 077; {first}{write}')}",
        undo_by_hand=f"sudo rm {quoted}",
    )


def _keep(path: str) -> Step:
    """One line of fstab, with nofail: a boot goes on without the file."""
    tag = fstab_line(path).rpartition("#")[2].strip()
    return Step(
        why="so that it is on after a boot",
        do=_verb("add-fstab", path),
        undo=_verb("remove-fstab", path),
        by_hand=f"echo {shlex.quote(fstab_line(path))} | sudo tee -a /etc/fstab",
        undo_by_hand=f"sudo sed -i {shlex.quote(f'/# {tag}$/d')} /etc/fstab",
    )


def _on(path: str) -> Step:
    """Switch it on, below what swap there is."""
    return Step(
        why="so that the kernel uses it from now on",
        do=_verb("swap-on", path),
        undo=_verb("swap-off", path),
        by_hand=f"sudo swapon {shlex.quote(path)}",
        undo_by_hand=f"sudo swapoff {shlex.quote(path)}",
    )


def _removal(area: SwapArea, leave: int, *, nocow: bool) -> list[Step]:
    """Switch off, forget, delete: of these, what is to be done. A cut left-over is deleted for good."""
    steps = []
    if area.on:
        steps.append(_backwards(_on(area.path), "so that nothing is in it any more"))
    if area.fstab_line:
        steps.append(_backwards(_keep(area.path), "so that no boot looks for it"))
    mib, rest = divmod(area.size_b, MIB)
    if mib or rest or not area.fstab_line:
        made = _make(area.path, mib, leave, nocow=nocow)
        delete = _backwards(made, "so that the disk has its place back")
        step = replace(delete, do=_verb("remove-swap", area.path, "--bytes", str(area.size_b)))
        steps.append(step if mib and not rest else replace(step, undo=None, undo_by_hand=""))
    return steps


def _backwards(step: Step, why: str) -> Step:
    assert step.undo is not None
    return replace(
        step, why=why, do=step.undo, undo=step.do, by_hand=step.undo_by_hand, undo_by_hand=step.by_hand
    )


REMEDIATION = SwapFile()
