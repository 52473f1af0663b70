"""What systemd and the cgroup hierarchy of this host say, for the look and for the verbs alike; nothing is changed.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

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


class Cgroup(NamedTuple):
    """One memory cgroup of this host. What is not there, or can not be read, is None."""

    version: int
    mount: str  # where the hierarchy is mounted, below the root of the site
    path: str

    @property
    def folder(self) -> str:
        """Where its files are."""
        return os.path.join(self.mount, self.path.strip("/"))

    def text(self, name: str) -> str | None:
        """One of its files."""
        try:
            with open(os.path.join(self.folder, name), encoding="ascii", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return None

    def number(self, name: str) -> int | None:
        """A file that holds one number; None for max, too."""
        return number(self.text(name))

    def stat(self, name: str, key: str) -> int | None:
        """One value of a file of keys and numbers, such as memory.stat or memory.events."""
        for line in (self.text(name) or "").splitlines():
            if line.startswith(f"{key} "):
                return number(line.split()[1])
        return None

    def working_set_b(self) -> int | None:
        """What it holds that can not be dropped at once: all but inactive file pages."""
        old = self.version == 1
        current = self.number("memory.usage_in_bytes" if old else "memory.current")
        inactive = self.stat("memory.stat", "total_inactive_file" if old else "inactive_file")
        return None if current is None or inactive is None else max(0, current - inactive)

    def swap_b(self) -> int | None:
        """How much swap it and those below it hold."""
        if self.version == 1:
            return self.stat("memory.stat", "total_swap")
        return self.number("memory.swap.current")

    def pids(self) -> list[int]:
        """Every process of it and of those below it, as systemd counts them."""
        top = self.folder
        if self.version == 1:  # where memory is not accounted for, a unit's processes are in the cgroup above
            named = os.path.join(os.path.dirname(self.mount), "systemd", self.path.strip("/"))
            top = named if os.path.isdir(named) else top
        found: list[int] = []
        for folder, _folders, files in os.walk(top):
            if "cgroup.procs" in files:
                try:
                    with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as file:
                        found += [int(line) for line in file if line.strip().isdigit() and int(line)]
                except OSError:
                    continue
        return sorted(set(found))


def cgroup_at(site: Site, path: str) -> Cgroup:
    """The memory cgroup of this path; the mounts are read once for all that is asked of it."""
    version, mount = hierarchy(site)
    return Cgroup(version, site.path(mount), path)
