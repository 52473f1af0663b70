"""Verbs of kernel settings: swappiness, now and at boot.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

from oombot.data.oombot_shape import Verb

KERNEL_VERBS: dict[str, Verb] = {}
