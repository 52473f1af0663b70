"""Verbs of time: put something back later, by a timer of this host, and call that off.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

from oombot.data.oombot_shape import Verb

TIMER_VERBS: dict[str, Verb] = {}
