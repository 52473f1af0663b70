"""What the act helper can do: the closed table of verbs, put together from the families.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

from oombot.data.oombot_adj import ADJ_VERBS
from oombot.data.oombot_shape import Verb

VERBS: dict[str, Verb] = {
    **ADJ_VERBS,
}
