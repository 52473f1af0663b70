"""Memory limits of units as numbers: how sizes are written, the floor, what to raise to, what drop-ins say.

All sizes are bytes; None stands for "no limit" (infinity).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Setting = Literal["MemoryHigh", "MemoryMax", "MemorySwapMax"]
SETTINGS: Final[tuple[Setting, ...]] = ("MemoryHigh", "MemoryMax", "MemorySwapMax")  # the gentle one first
INFINITY: Final = "infinity"
MIB: Final = 1 << 20
HIGHEST: Final = 1 << 50  # 1 PiB: more than that is a slip of the finger
FLOOR: Final = 1.25  # a new MemoryMax leaves at least so many times what can not be dropped
LARGEST_PAGE: Final = 1 << 16  # limits are rounded to pages, which are no larger than this
RESERVE: Final = 0.1  # the share of RAM that a suggestion leaves to the host

_SIZE: Final = re.compile(r"(?P<number>[0-9]{1,16}(?:\.[0-9]{1,6})?) ?(?P<unit>[KMGT]?)(?:i?B)?", re.ASCII)
_POWER: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
# what systemd.resource-control(5) takes as the value of a limit, and nothing else
_VALUE: Final = re.compile(
    r"(?:[0-9]{1,20}(?:\.[0-9]{1,6})?[KMGTPE]?B?|[0-9]{1,3}(?:\.[0-9]{1,2})?%|infinity|)"
)
_LIKE_SYSTEMD: Final = re.compile(r"(?P<number>[0-9]{1,20}(?:\.[0-9]{1,6})?)(?P<unit>[KMGTPE]?)B?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A limit worth offering, and the arithmetic that leads to it."""

    value_b: int
    why: str


def parsed(text: str) -> str | None:
    """A size that a person wrote, as decimal bytes or `infinity`; None where it is none.

    Whole MiB only: the kernel rounds to pages, and what it shows must be what was asked for.
    """
    text = text.strip()
    if text.lower() in (INFINITY, "max"):
        return INFINITY
    found = _SIZE.fullmatch(text.upper().replace("IB", "B"))
    if found is None:
        return None
    whole, _, part = found["number"].partition(".")
    number = int(whole + part) * 1024 ** _POWER[found["unit"]]
    size_b, rest = divmod(number, 10 ** len(part))
    return str(size_b) if not rest and size_b % MIB == 0 and size_b <= HIGHEST else None


def number(value: str) -> int | None:
    """The bytes of a value as `parsed` gives it; None for infinity."""
    return None if value == INFINITY else int(value)


def word(size_b: int | None) -> str:
    """A limit as systemd takes it in bytes."""
    return INFINITY if size_b is None else str(size_b)


def short(size_b: int | None) -> str:
    """A limit exactly, as systemd takes it and people read it: 512M, 2G."""
    if size_b is None:
        return INFINITY
    for power, suffix in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        if size_b and size_b % 1024**power == 0:
            return f"{size_b // 1024**power}{suffix}"
    return str(size_b)


def less(one_b: int | None, other_b: int | None) -> bool:
    """Whether the first limit is stricter than the second."""
    return one_b is not None and (other_b is None or one_b < other_b)


def floor_b(working_b: int) -> int:
    """The lowest MemoryMax for a cgroup that holds so much which can not be dropped."""
    return -(-working_b * 5 // 4)


def rounded_up(size_b: float) -> int:
    """The next size that a person would write: steps of 16 MiB, of 64 MiB from 1 GiB, of 512 MiB from 8 GiB."""
    step = 16 * MIB if size_b <= 1024 * MIB else 64 * MIB if size_b <= 8192 * MIB else 512 * MIB
    return int(-(-size_b // step) * step)


def raised(peak_b: int, limit_b: int, *, room_b: int) -> Advice | None:
    """What to raise a limit to that was hit: the peak and a quarter; None where the host has no room for it."""
    wanted = rounded_up(max(peak_b, limit_b) * 1.25)
    if wanted - limit_b > room_b:
        return None
    why = f"observed peak {short_about(peak_b)} + 25 %, rounded up = {short(wanted)}"
    return Advice(value_b=wanted, why=why)


def capped(total_b: int, others_b: int, working_b: int) -> Advice | None:
    """What to hold a unit to that took the host down: what RAM leaves it; None where it needs more than that.

    `others_b` is what all others hold, `working_b` what the unit itself holds now.
    """
    left = (int(total_b * (1 - RESERVE)) - others_b) // (16 * MIB) * (16 * MIB)
    if left < max(floor_b(working_b), 64 * MIB):
        return None
    why = (
        f"RAM {short_about(total_b)} − 10 % reserve − {short_about(others_b)} that others hold, "
        f"rounded down = {short(left)}"
    )
    return Advice(value_b=left, why=why)


def short_about(size_b: int | None) -> str:
    """A size that was measured, about: 413 MiB."""
    if size_b is None:
        return "no limit"
    if size_b < 10 * MIB:
        return f"{size_b / 1024:.0f} KiB"
    return f"{size_b / MIB:.0f} MiB" if size_b < 10240 * MIB else f"{size_b / (1024 * MIB):.1f} GiB"


def said(text: str, setting: str) -> str | None:
    """What a drop-in gives a setting, as it stands there; None where it does not name it. The last line counts."""
    found = None
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == setting:
            found = value.strip()
    return found


def as_bytes(value: str) -> int | None:
    """The bytes of a value as systemd reads it; None for infinity. ValueError where it has no size by itself (50%)."""
    if value in (INFINITY, ""):
        return None
    found = _LIKE_SYSTEMD.fullmatch(value)
    if found is None:
        raise ValueError(f"{value} is no size")
    return int(float(found["number"]) * 1024 ** " KMGTPE".index(found["unit"] or " "))


def is_plain(text: str, setting: str) -> bool:
    """Whether a drop-in holds nothing but this setting: what the host's helper takes to put it back."""
    if len(text) > 4096 or any(c == "\ufffd" or not (c.isprintable() or c in "\n\t") for c in text):
        return False
    for line in text.split("\n"):
        stripped = line.strip()
        key, equals, value = stripped.partition("=")
        known = equals and key.rstrip() == setting and _VALUE.fullmatch(value.lstrip())
        if stripped and not known and stripped[0] not in "#;" and stripped not in ("[Service]", "[Slice]"):
            return False
        if stripped.endswith("\\"):
            return False
    return True


def sum_of_limits(limits: Mapping[str, int | None]) -> int:
    """The limits of cgroups together, by path; one below another that is limited is in that one's already."""
    limited = {path: limit for path, limit in limits.items() if limit is not None and path != "/"}
    return sum(
        limit
        for path, limit in limited.items()
        if not any(path != above and path.startswith(above + "/") for above in limited)
    )
