"""The host's policy as it is first written: which verbs of the act helper a remedy needs, and nothing more."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oombot.errors import ConfigError

EVERY: Final = "all"
TIMER: Final = ("put-back", "keep")  # they run nothing that the rest of the policy would not allow anyway
VERBS_OF: Final[Mapping[str, Sequence[str]]] = {
    "oom_score_adj": ("set-adj",),
    "oom_score_adjust_unit": ("set-adj", "write-adjust", "remove-adjust", "restart-unit"),
    "memory_max": ("set-memory", "restore-memory"),
    "restart_service": ("restart-unit",),
    "drop_caches": ("drop-caches", "reclaim"),
    "swap_file": ("make-swap", "swap-on", "swap-off", "remove-swap", "add-fstab", "remove-fstab"),
    "swappiness": ("set-swappiness", "keep-swappiness", "drop-swappiness"),
}
USUAL: Final = ("oom_score_adj",)


def policy_text(remedies: Sequence[str] = USUAL, *, swap_folder: str = "/", swap_max_mib: int = 0) -> str:
    """A policy that allows these remedies, `all` for every one; ConfigError where there is no such remedy."""
    unknown = [name for name in remedies if name not in VERBS_OF and name != EVERY]
    if unknown:
        known = ", ".join([*VERBS_OF, EVERY])
        raise ConfigError([f"--allow {name[:40]}: not a remedy; those are {known}" for name in unknown])
    wanted = [*VERBS_OF] if EVERY in remedies else [name for name in VERBS_OF if name in remedies]
    verbs = dict.fromkeys([verb for name in wanted for verb in VERBS_OF[name]] + [*TIMER])
    found: dict[str, Any] = {
        "operations": [*verbs],
        "units": ["*"],
        "owners": ["*"],
        "oom_score_adj": [-500, 1000],
        "changes_per_hour": 20,
    }
    if "swap_file" in wanted:
        found |= {"swap_folders": [swap_folder], "swap_max_mib": swap_max_mib}
    return json.dumps(found, indent=2)
