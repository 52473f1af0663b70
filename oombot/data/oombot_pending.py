"""Memory limits that wait: held by systemd, or written in its files, and not in the cgroup yet.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).

Measured on systemd 252 and 257: a limit that waits is set, and kills, as soon as any unit of the same slice is
started, restarted or changed by set-property, and a daemon-reload arms what stands in files that were not read.
So nothing here starts, changes or reloads a unit before these were looked for.
"""

from __future__ import annotations

from typing import Any

from oombot.data.oombot_site import Site, StepError, UntouchedError


def pending(site: Site) -> list[dict[str, Any]]:
    """Every limit that waits, in the shape of PendingChange of oombot/details.py."""
    raise StepError("not looked at yet")


def check_start(site: Site, but: str = "") -> None:
    """UntouchedError where starting or changing a unit would set a limit of another one (`but` apart) that kills it."""
    raise UntouchedError("not looked at yet")


def check_reload(site: Site, but: str = "") -> None:
    """The same for a daemon-reload, which arms what stands in files besides."""
    raise UntouchedError("not looked at yet")
