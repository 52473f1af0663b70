"""Sizes, ages and counts as people read them."""

import math

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def size(kb: float | None) -> str:
    """Write kB as `1.9 GiB`; `?` where it is not known."""
    if kb is None:
        return "?"
    value, unit = float(kb), _UNITS[0]
    for larger in _UNITS[1:]:
        if round(value) >= 1024:
            value, unit = value / 1024, larger
    if value == 0:
        return "0"
    if unit == "KiB" or (unit == "MiB" and value >= 10):
        return f"{value:.0f} {unit}"
    return f"{value:.1f} {unit}"


def age(seconds: float | None) -> str:
    """Write a span of time as `40 s`, `4 min`, `3 h`, `5 days`; `?` where it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    seconds = max(0.0, seconds)
    for limit, unit_s, name in ((90, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{seconds / 86400:.0f} days"


def ordinal(number: int) -> str:
    """Write 1 as `1st`, 12 as `12th`."""
    last_two = number % 100
    suffix = "th" if last_two in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def plural(number: int, word: str) -> str:
    """Write `1 kill`, `2 kills`, `2 processes`."""
    ending = "es" if word.endswith("s") else "s"
    return f"{number} {word}" if number == 1 else f"{number} {word}{ending}"


def shorten(path: str, limit: int = 80) -> str:
    """Keep the end of a long path, which is what tells cgroups apart."""
    return path if len(path) <= limit else "…" + path[1 - limit :]
