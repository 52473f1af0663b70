"""When two prints tell of one kill."""

from collections.abc import Iterable

from oombot.model import OomKill

SAME_KILL_S = 2.0
NEAR = 64
SAME_BOOT_S = (
    120.0  # wall clocks are set and drift; seconds since an unnamed boot come again after every boot
)


def same_kill(one: OomKill, other: OomKill) -> bool:
    """Whether two kills of one host are one: pid and boot agree and kernel time is within 2 s.

    Where either boot is unknown and both wall times are known, those must be within 120 s as well. Wall time
    stands in where kernel time is missing on either; where both are missing, the same text decides.
    """
    if one.pid != other.pid or (one.boot_id and other.boot_id and one.boot_id != other.boot_id):
        return False
    if one.mono_s is not None and other.mono_s is not None:
        return abs(one.mono_s - other.mono_s) <= SAME_KILL_S and _may_be_one_boot(one, other)
    if one.time_s is not None and other.time_s is not None:
        return abs(one.time_s - other.time_s) <= SAME_KILL_S
    return (one.comm, one.report) == (other.comm, other.report)


def _may_be_one_boot(one: OomKill, other: OomKill) -> bool:
    if (one.boot_id and other.boot_id) or one.time_s is None or other.time_s is None:
        return True
    return abs(one.time_s - other.time_s) <= SAME_BOOT_S


def merged(kills: Iterable[OomKill]) -> list[OomKill]:
    """Each kill once, in order; of two prints of one kill the one with a whole kill line stays."""
    found: list[OomKill] = []
    for kill in kills:
        near = range(max(0, len(found) - NEAR), len(found))  # two prints of one kill are never far apart
        index = next((i for i in near if same_kill(kill, found[i])), None)
        if index is None:
            found.append(kill)
        elif found[index].evidence != "kill_line" and kill.evidence == "kill_line":
            found[index] = kill
    return found
