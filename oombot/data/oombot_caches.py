"""Verbs of caches: drop clean ones host-wide, or reclaim from one cgroup.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

from oombot.data.oombot_shape import Verb

CACHES_VERBS: dict[str, Verb] = {}
