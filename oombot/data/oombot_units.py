"""Verbs of units: the drop-in that sets OOMScoreAdjust, and the scores of all processes of a unit.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

from oombot.data.oombot_shape import Verb

UNITS_VERBS: dict[str, Verb] = {}
