"""Verbs of services: restart one, and wait until it stands.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

from oombot.data.oombot_shape import Verb

RESTART_VERBS: dict[str, Verb] = {}
