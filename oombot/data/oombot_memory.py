"""Verbs of memory limits: set-property and its way back, byte for byte.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

from oombot.data.oombot_shape import Verb

MEMORY_VERBS: dict[str, Verb] = {}
