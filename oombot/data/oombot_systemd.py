"""What systemd and the cgroup hierarchy of this host say, for the look and for the verbs alike; nothing is changed.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import os
import re

from oombot.data.oombot_site import Site, StepError, tell

INFINITY = 1 << 63  # what the kernel and systemd take for "no limit" is at least this, rounded to pages
UNIT_FORM = re.compile(
    r"[A-Za-z0-9_:][A-Za-z0-9:_.\\@-]{0,246}\.(?:service|slice|scope|socket|timer)", re.ASCII
)
# what has a cgroup of its own; a template without instance has none
WITH_CGROUP = r"[A-Za-z0-9_:][A-Za-z0-9:_.\\@-]{0,246}(?<!@)\.(?:service|slice|scope)"


def show(site: Site, unit: str, properties: str) -> dict[str, str]:
    """Properties of one unit (comma-separated names), as `systemctl show` has them; its name is never an option."""
    text = tell(site, "systemctl", "show", "--no-pager", "-p", properties, "--", unit)
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def show_all(site: Site, properties: str, *patterns: str) -> list[dict[str, str]]:
    """The same of every loaded unit that matches the patterns."""
    text = tell(site, "systemctl", "show", "--no-pager", "-p", properties, "--", *patterns)
    blocks = [block.splitlines() for block in text.split("\n\n") if block.strip()]
    return [dict(line.split("=", 1) for line in block if "=" in line) for block in blocks]


def number(text: str | None) -> int | None:
    """A whole number of systemd or of a cgroup file; None for max, infinity, [not set], or nothing."""
    try:
        value = int((text or "").strip())
    except ValueError:
        return None
    return None if value >= INFINITY - (1 << 20) or value < 0 else value


def hierarchy(site: Site) -> tuple[int, str]:
    """The version of the hierarchy that limits memory, and where it is mounted."""
    with open(site.path("/proc/mounts"), encoding="utf-8", errors="replace") as file:
        rows = [line.split() for line in file]
    for row in rows:
        if len(row) > 3 and row[2] == "cgroup" and "memory" in row[3].split(","):
            return 1, row[1]
    for row in rows:
        if len(row) > 3 and row[2] == "cgroup2":
            return 2, row[1]
    raise StepError("no memory cgroup hierarchy is mounted")


def cgroup_text(site: Site, path: str, name: str) -> str | None:
    """One file of a memory cgroup; None where it is not there."""
    _, root = hierarchy(site)
    try:
        with open(
            site.path(os.path.join(root, path.strip("/"), name)), encoding="ascii", errors="replace"
        ) as file:
            return file.read().strip()
    except OSError:
        return None


def cgroup_number(site: Site, path: str, name: str) -> int | None:
    """One number of a memory cgroup; None for max, and where it is not there."""
    return number(cgroup_text(site, path, name))


def cgroup_stat(site: Site, path: str, name: str, key: str) -> int | None:
    """One value of a file of keys and numbers, such as memory.stat or memory.events."""
    for line in (cgroup_text(site, path, name) or "").splitlines():
        if line.startswith(f"{key} "):
            return number(line.split()[1])
    return None


def pids_of(site: Site, path: str) -> list[int]:
    """Every process of a cgroup and of those below it, as systemd counts them."""
    version, root = hierarchy(site)
    if version == 1:  # where memory is not accounted for, a unit's processes are in the cgroup above
        named = os.path.join(os.path.dirname(root), "systemd")
        root = named if os.path.isdir(site.path(os.path.join(named, path.strip("/")))) else root
    found: list[int] = []
    for folder, _folders, files in os.walk(site.path(os.path.join(root, path.strip("/")))):
        if "cgroup.procs" in files:
            try:
                with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as file:
                    found += [int(line) for line in file if line.strip().isdigit() and int(line)]
            except OSError:
                continue
    return sorted(set(found))
