"""A part of the look: swap, its file system, and who holds it.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

from typing import Any

from oombot.data.oombot_site import Site, StepError


def look_swap(site: Site, names: dict[str, str]) -> Any:
    """Swap, in the shape of SwapDetails."""
    raise StepError("not looked at yet")
