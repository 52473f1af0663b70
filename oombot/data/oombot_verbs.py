"""What the act helper can do: the closed table of verbs, put together from the families.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

from oombot.data.oombot_adj import ADJ_VERBS
from oombot.data.oombot_caches import CACHES_VERBS
from oombot.data.oombot_fstab import FSTAB_VERBS
from oombot.data.oombot_kernel import KERNEL_VERBS
from oombot.data.oombot_memory import MEMORY_VERBS
from oombot.data.oombot_restart import RESTART_VERBS
from oombot.data.oombot_shape import Verb
from oombot.data.oombot_swap import SWAP_VERBS
from oombot.data.oombot_timer import TIMER_VERBS
from oombot.data.oombot_units import UNITS_VERBS

VERBS: dict[str, Verb] = {
    **ADJ_VERBS,
    **CACHES_VERBS,
    **FSTAB_VERBS,
    **KERNEL_VERBS,
    **MEMORY_VERBS,
    **RESTART_VERBS,
    **SWAP_VERBS,
    **TIMER_VERBS,
    **UNITS_VERBS,
}
