"""Parts of the look: unit, pending, cgroup and kernel.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

from typing import Any

from oombot.data.oombot_site import Site, StepError


def look_unit(site: Site, names: dict[str, str]) -> Any:
    """The unit, in the shape of UnitDetails."""
    raise StepError("not looked at yet")


def look_cgroup(site: Site, names: dict[str, str]) -> Any:
    """The cgroup, or that of the unit, in the shape of CgroupDetails."""
    raise StepError("not looked at yet")


def look_kernel(site: Site, names: dict[str, str]) -> Any:
    """Kernel settings and the machine, in the shape of KernelDetails."""
    raise StepError("not looked at yet")
