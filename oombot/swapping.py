"""Swap files of ours: how large, where, and whether one can be switched off again. Values in, values out."""

import re
from dataclasses import dataclass
from typing import Final

from oombot.details import KernelDetails, SwapArea, SwapDetails
from oombot.model import HostSnapshot
from oombot.proposals import Check
from oombot.rights import Policy

MIB: Final = 1 << 20
LEAST_MIB: Final = 64
MOST_MIB: Final = 1 << 20
USUAL_MOST_MIB: Final = 4096  # more swap than this makes a host slow before it saves it
SPARE_MIB: Final = 512  # what swapping off must leave available; of less than 2 GiB of RAM a quarter
FILESYSTEMS: Final = ("ext3", "ext4", "xfs", "btrfs")
_NOT_THERE: Final = "no swap file can be there (on ext3, ext4, xfs and btrfs it can)"
FOLDER: Final = re.compile(r"/(?:[A-Za-z0-9_+@:.-]+/?)*", re.ASCII)
PATH: Final = re.compile(r"/(?:[A-Za-z0-9_+@:.-]+/)*oombot-(?P<tag>[A-Za-z0-9_-]{1,64})\.swap", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What to do. `mib` is the size of a new file (0 = derived), or for grow of all of ours together.

    `folder` is where a new file is put ("" = where the policy says), `path` the file that is removed, `keep` whether it
    is on after a boot, `leave_mib` the free disk that must stay, which is never less than 10 %.
    """

    action: str = "add"
    mib: int = 0
    folder: str = ""
    path: str = ""
    keep: bool = False
    leave_mib: int = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Swap as it is, in its host; `area` is the file to remove."""

    swap: SwapDetails
    kernel: KernelDetails
    snapshot: HostSnapshot
    area: SwapArea | None = None


def is_folder(text: str) -> bool:
    """Whether this is a plain absolute path of letters that fstab takes as they are."""
    return FOLDER.fullmatch(text) is not None and {".", ".."}.isdisjoint(text.split("/")) and len(text) < 1000


def is_path(text: str) -> bool:
    """Whether this is the path of a swap file of ours."""
    return PATH.fullmatch(text) is not None and {".", ".."}.isdisjoint(text.split("/")) and len(text) < 1000


def leave_mib(params: Params, seen: Seen) -> int:
    """How much of the disk must stay free."""
    return max(params.leave_mib, (seen.swap.size_b or 0) // 10 // MIB)


def added_mib(params: Params, seen: Seen) -> int:
    """The size of the file to make; 0 or less: there is nothing to make."""
    if params.action == "grow":
        return params.mib - total_mib(seen)
    if params.mib:
        return params.mib
    size = min(_derived(params, seen))
    return max(0, size - size % (256 if size >= 1024 else 64))


def arithmetic(params: Params, seen: Seen) -> str:
    """Where the size comes from, in words."""
    if params.action == "grow":
        return f"{params.mib} MiB wanted − {total_mib(seen)} MiB of ours = {added_mib(params, seen)} MiB"
    if params.mib:
        return f"{params.mib} MiB as asked for"
    ram, quarter, most = _derived(params, seen)
    said = f"RAM {ram} MiB, a quarter of the disk's room above its reserve {quarter} MiB, {most} MiB"
    return f"{added_mib(params, seen)} MiB = the least of {said}, rounded down"


def _derived(params: Params, seen: Seen) -> tuple[int, int, int]:
    spare = (seen.swap.free_b or 0) // MIB - leave_mib(params, seen)
    return seen.snapshot.memory_kb.get("MemTotal", 0) // 1024, max(0, spare) // 4, USUAL_MOST_MIB


def total_mib(seen: Seen) -> int:
    """All swap files of ours together, on or off."""
    return sum(area.size_b for area in seen.swap.areas) // MIB


def in_words(mib: int, *, on: bool, kept: bool) -> str:
    """A swap file of ours, as it is compared."""
    return f"{mib} MiB {'on' if on else 'off'}{' and kept' if kept else ''}"


def area_said(area: SwapArea) -> str:
    """The same of one that is there."""
    return in_words(area.size_b // MIB, on=area.on, kept=bool(area.fstab_line))


def ours_said(said: list[str]) -> str:
    """All of ours."""
    return f"swap files of oombot: {', '.join(sorted(said)) or 'none'}"


def place(params: Params, seen: Seen, policy: Policy) -> list[Check]:
    """Whether this host, and this file system, can hold a swap file."""
    swap, kernel = seen.swap, seen.kernel
    able = swap.filesystem in FILESYSTEMS
    hint = "; zram swaps without a disk" if swap.filesystem == "zfs" else ""
    kind = swap.filesystem or "an unknown file system"
    checks = [
        Check(ok=able, text=f"{swap.folder} is on {kind}{'' if able else f': {_NOT_THERE}{hint}'}"),
        Check(
            ok=not swap.read_only, text=f"{swap.folder} is {'read-only' if swap.read_only else 'writable'}"
        ),
        Check(
            ok=not swap.links, text=f"{'a link stands' if swap.links else 'no link stands'} in {swap.folder}"
        ),
    ]
    if not params.folder and policy.swap_folder.rstrip("/"):
        said = f"the policy puts swap files into {policy.swap_folder}: ask for one there in the form"
        checks.append(Check(ok=False, text=said))
    if kernel.container:
        said = f"it is a container ({kernel.container}): its swap is that of the machine below it"
        checks.append(Check(ok=False, text=said))
    if swap.kubelet or any(p.comm == "kubelet" for p in seen.snapshot.processes):
        checks.append(Check(ok=False, text="it is a Kubernetes node: kubelet counts on there being no swap"))
    if swap.rotational:
        said = f"{swap.source} says that it is a turning disk: if so, what was swapped comes back slowly"
        checks.append(Check(ok=None, text=said))
    if swap.filesystem == "btrfs":
        said = "btrfs: on one device only, and its subvolume takes no snapshot while the file is on"
        checks.append(Check(ok=None, text=said))
    if kernel.swappiness == 0:
        checks.append(Check(ok=None, text="vm.swappiness is 0: the kernel swaps only when it hardly can not"))
    return checks


def size(params: Params, seen: Seen, policy: Policy) -> list[Check]:
    """Whether the size is one, is allowed, and leaves enough of the disk."""
    added, ours, leave = added_mib(params, seen), total_mib(seen), leave_mib(params, seen)
    if params.action == "grow":
        if not seen.swap.areas:
            return [Check(ok=False, text="there is no swap file of oombot to grow: add one")]
        if added <= 0:
            return []  # nothing to do
    fits = LEAST_MIB <= added <= MOST_MIB
    checks = [Check(ok=fits, text=f"{arithmetic(params, seen)}; a file has {LEAST_MIB} to {MOST_MIB} MiB")]
    within = ours + added <= policy.swap_max_mib
    said = f"{added} MiB besides {ours} MiB of oombot's; {policy.swap_max_mib} MiB are allowed (policy.swap_max_mib)"
    checks.append(Check(ok=within, text=said))
    if params.leave_mib < policy.swap_reserve_mib:
        said = f"{params.leave_mib} MiB of disk left are less than {policy.swap_reserve_mib} (policy.swap_reserve_mib)"
        checks.append(Check(ok=False, text=said))
    if seen.swap.free_b is None or seen.swap.size_b is None:
        return [*checks, Check(ok=False, text=f"it is not known how much is free in {seen.swap.folder}")]
    free = seen.swap.free_b // MIB
    said = f"disk: {free} MiB free − {added} MiB = {free - added} MiB; {leave} MiB must stay"
    return [*checks, Check(ok=free - added >= leave, text=said)]


def persistence(params: Params, seen: Seen) -> list[Check]:
    """Whether fstab can be edited, when it is to be; and what there is already."""
    checks = []
    if params.keep:
        wrong = seen.swap.fstab_wrong
        checks.append(
            Check(ok=not wrong, text=f"fstab can not be edited: {wrong}" if wrong else "fstab can be edited")
        )
    off = [area.path for area in seen.swap.areas if not area.on]
    if off:
        checks.append(Check(ok=None, text=f"of oombot's, off, and taking disk: {', '.join(off)} (remove it)"))
    others = [
        swap.name for swap in seen.snapshot.swaps if swap.name not in {area.path for area in seen.swap.areas}
    ]
    if others:
        checks.append(Check(ok=None, text=f"there is swap already: {', '.join(others)}"))
    return checks


def removable(area: SwapArea | None, seen: Seen) -> list[Check]:
    """Whether the file can be switched off, and is still ours to delete."""
    if area is None:
        return []
    checks = [] if not area.on else room_to_swap_off(area, seen)
    if area.fstab_line and area.fstab_line != fstab_line(area.path):
        said = (
            f"somebody has edited its line in fstab ({area.fstab_line.strip()}): take it away by hand first"
        )
        checks.append(Check(ok=False, text=said))
    if area.fstab_line and seen.swap.fstab_wrong:
        checks.append(Check(ok=False, text=f"fstab can not be edited: {seen.swap.fstab_wrong}"))
    return checks


def room_to_swap_off(area: SwapArea, seen: Seen) -> list[Check]:
    """That memory, and every cgroup that holds swap, can take back what is in the file: else somebody is killed."""
    if not area.on:
        return []
    if area.used_b is None:
        return [Check(ok=False, text=f"it is not known how much of {area.path} is used")]
    if not area.used_b:
        return [Check(ok=True, text=f"nothing is in {area.path}")]
    available = seen.snapshot.memory_kb.get("MemAvailable")
    spare = min(SPARE_MIB, seen.snapshot.memory_kb.get("MemTotal", 0) // 4096 or SPARE_MIB)
    need = area.used_b * 1.2 + spare * MIB
    has = "an unknown amount" if available is None else f"{available // 1024} MiB"
    said = f"{has} of memory available; {need / MIB:.0f} MiB needed (1.2 × {area.used_b / MIB:.0f} + {spare})"
    checks = [Check(ok=available is not None and available * 1024 >= need, text=said)]
    if seen.swap.holders is None:
        return [*checks, Check(ok=False, text="the kernel does not say which cgroups hold swap")]
    for one in seen.swap.holders:
        back = min(one.swap_b, area.used_b)
        if one.max_b is None or (one.current_b is not None and one.max_b - one.current_b >= back):
            continue
        room = (
            "an unknown rest"
            if one.current_b is None
            else f"{max(0, one.max_b - one.current_b) / MIB:.0f} MiB"
        )
        said = f"{one.path} would get up to {back / MIB:.0f} MiB back and has {room} up to its limit"
        checks.append(Check(ok=False, text=said))
    return checks


def fstab_line(path: str) -> str:
    """Our line, as the host helper writes it."""
    found = PATH.fullmatch(path)
    assert found is not None
    return f"{path} none swap sw,nofail 0 0 # oombot:{found['tag']}"
