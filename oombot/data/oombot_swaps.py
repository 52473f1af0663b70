"""What this host says of swap, for the look and for the verbs alike; nothing is changed.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
A swap file of ours is FOLDER/oombot-TAG.swap: the tag of the request that made it stands in its name, so it is
known without any other record.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import Any

from oombot.data.oombot_site import MIB, Site, StepError, UntouchedError, folder_of, read_file
from oombot.data.oombot_systemd import cgroup_at, number

FSTAB = "/etc/fstab"
SWAP_TAG = r"[A-Za-z0-9_-]{1,64}"
SWAP_FOLDER = r"/(?:[A-Za-z0-9_+@:.-]+/)*"
SWAP_PATH = rf"{SWAP_FOLDER}oombot-{SWAP_TAG}\.swap"
_V2 = ("memory.current", "memory.max")
SPARE_MIB = 512  # what swapping off must leave available; of less than 2 GiB of RAM a quarter


def tag_of(path: str) -> str:
    """The tag in the path of a swap file of ours."""
    return os.path.basename(path)[len("oombot-") : -len(".swap")]


def line_for(path: str) -> str:
    """The line of fstab that switches it on at boot; a boot goes on where the file is gone."""
    return f"{path} none swap sw,nofail 0 0 # oombot:{tag_of(path)}"


def lines_about(lines: list[str], path: str) -> list[str]:
    """The lines of fstab that name this file of ours or carry its tag, comments included."""
    tagged = re.compile(rf"#\s*oombot:{re.escape(tag_of(path))}\s*$")
    return [line for line in lines if tagged.search(line) or line.split()[:1] == [path]]


def fstab_lines(site: Site) -> list[str]:
    """fstab line by line; StepError where it is not there or is no plain file."""
    data = read_file(site, FSTAB)
    if data is None:
        raise UntouchedError(f"there is no {FSTAB}")
    return data.decode("utf-8", "surrogateescape").split("\n")


def _mounted_name(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda one: chr(int(one[1], 8)), word)


def swaps_on(site: Site) -> dict[str, tuple[int, int]]:
    """Size and use in bytes of every swap area that is on, by its path."""
    with open(site.path("/proc/swaps"), encoding="utf-8", errors="replace") as file:
        rows = [line.split() for line in file][1:]
    found = {_mounted_name(row[0]): (int(row[2]) * 1024, int(row[3]) * 1024) for row in rows if len(row) > 3}
    return {name.removeprefix(site.root): sizes for name, sizes in found.items()}


def our_areas(site: Site, *folders: str) -> list[dict[str, Any]]:
    """Swap files of ours in the shape of SwapArea: what is on, what stands in fstab, and what lies in `folders`."""
    on = swaps_on(site)
    try:
        lines = fstab_lines(site)
    except StepError:
        lines = []  # said by fstab_wrong
    named = [line.split()[0] for line in lines if line.strip()]
    paths = {path for path in (*on, *named) if re.fullmatch(SWAP_PATH, path, re.ASCII)}
    for folder in folders:
        for name in os.listdir(site.path(folder)):
            path = f"{folder.rstrip('/')}/{name}"
            if re.fullmatch(SWAP_PATH, path, re.ASCII):
                paths.add(path)
    return [area for path in sorted(paths) if (area := _area(site, path, on, lines))]


def _area(site: Site, path: str, on: dict[str, tuple[int, int]], lines: list[str]) -> dict[str, Any] | None:
    line = next(iter(lines_about(lines, path)), "")
    size = on.get(path, (0, 0))[0]
    with contextlib.suppress(OSError):
        found = os.lstat(site.path(path))
        if stat.S_ISREG(found.st_mode) and found.st_uid in (0, os.geteuid()):
            size = found.st_size
        elif path not in on and not line:
            return None  # a name like ours, and nothing of ours
    used = on[path][1] if path in on else None
    return {
        "path": path,
        "size_b": size,
        "on": path in on,
        "used_b": used,
        "fstab_line": line,
        "tag": tag_of(path),
    }


def mount_of(site: Site, folder: str) -> dict[str, Any]:
    """File system, device, mount point and whether it is read-only, of the mount that holds a folder."""
    with open(site.path("/proc/self/mountinfo"), encoding="utf-8", errors="replace") as file:
        rows = [line.split() for line in file]
    best: dict[str, Any] = {}
    for row in rows:
        if "-" not in row[6:] or len(row) < row.index("-", 6) + 3:
            continue
        at, point = row.index("-", 6), _mounted_name(row[4])
        within = folder == point or folder.startswith(point.rstrip("/") + "/")
        if within and len(point) >= len(best.get("mount_point", "")):
            options = row[5].split(",") + row[-1].split(",")
            best = {
                "filesystem": row[at + 1],
                "source": _mounted_name(row[at + 2]),
                "mount_point": point,
                "read_only": "ro" in options,
            }
    return best


def has_links(site: Site, folder: str) -> bool:
    """Whether a link stands in the path of a folder; StepError where it is no directory."""
    at = site.root
    for part in [part for part in folder.split("/") if part]:
        at = f"{at}/{part}"
        try:
            found = os.lstat(at)
        except OSError as error:
            raise StepError(f"{folder} is no directory: {error.strerror}") from None
        if stat.S_ISLNK(found.st_mode):
            return True
        if not stat.S_ISDIR(found.st_mode):
            raise StepError(f"{folder} is no directory")
    return False


def free_of(site: Site, folder: str) -> tuple[int, int]:
    """Size of the file system and what is free on it, in bytes; what is kept back for root is not free."""
    with folder_of(site, f"{folder.rstrip('/')}/x") as handle:
        found = os.fstatvfs(handle)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def swap_holders(site: Site) -> list[dict[str, Any]] | None:
    """Every memory cgroup that holds swap, in the shape of SwapHolder; None where the kernel does not count it."""
    try:
        root = cgroup_at(site, "/")
    except StepError:
        return None
    found: list[dict[str, Any]] = []
    if root.version == 1 and root.swap_b() is None:
        return None
    usage, limit = ("memory.usage_in_bytes", "memory.limit_in_bytes") if root.version == 1 else _V2
    for folder, _folders, _files in os.walk(root.mount):
        one = root._replace(path=f"/{folder[len(root.mount) :].strip('/')}")
        swap, most = one.swap_b(), one.text(limit)
        if swap and most is not None:  # the root of v2 has no limit, and what is gone holds nothing
            current, most_b = one.number(usage), number(most)
            found.append({"path": one.path, "swap_b": swap, "current_b": current, "max_b": most_b})
    return sorted(found, key=lambda one: -int(one["swap_b"]))


def _memory(site: Site, key: str) -> int:
    """One value of /proc/meminfo in MiB."""
    with open(site.path("/proc/meminfo"), encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) // 1024
    raise StepError(f"the kernel does not say {key}")


def why_kept_on(site: Site, used_b: int) -> list[str]:
    """Why swapping off so much could kill somebody: it is pushed back into memory, and into the cgroups it is of."""
    if not used_b:
        return []
    why, available = [], _memory(site, "MemAvailable")
    need, spare = used_b * 1.2 / MIB, min(SPARE_MIB, _memory(site, "MemTotal") // 4)
    if available < need + spare:
        why.append(f"{available} MiB of memory are available, {need:.0f} + {spare} MiB are needed")
    holders = swap_holders(site)
    if holders is None:
        return [*why, "the kernel does not say which cgroups hold swap"]
    for one in holders:
        back, limit, current = min(int(one["swap_b"]), used_b), one["max_b"], one["current_b"]
        if limit is not None and (current is None or limit - current < back):
            room = "an unknown rest" if current is None else f"{max(0, limit - current) // MIB} MiB"
            why.append(
                f"{one['path']} would get up to {back / MIB:.0f} MiB back and has {room} up to its limit"
            )
    return why
