"""Memory of the whole host: /proc/meminfo, /proc/swaps, pressure and the kernel's count of kills."""

import re
from collections.abc import Sequence

from oombot.facts.sections import decimal, integer, text
from oombot.model import Pressure, Swap

# fs/proc/meminfo.c show_val_kb(): "MemTotal:       24683656 kB"; counts of huge pages have no unit
_MEMINFO = re.compile(rb"(?P<key>[A-Za-z0-9_()]+):\s+(?P<value>[0-9]{1,20}) kB")
_OCTAL = re.compile(rb"\\([0-7]{3})")  # seq_escape() of blanks in /proc/swaps


def memory_kb(lines: Sequence[bytes]) -> dict[str, int]:
    """Rows of /proc/meminfo that have a size."""
    rows = (_MEMINFO.fullmatch(line) for line in lines)
    return {row["key"].decode(): int(row["value"]) for row in rows if row}


def swaps(lines: Sequence[bytes]) -> tuple[Swap, ...]:
    """Rows of /proc/swaps; the header and whatever else is no row is left out."""
    found = []
    for words in (line.split() for line in lines):
        if len(words) != 5:
            continue
        size, used, priority = integer(words[2]), integer(words[3]), integer(words[4])
        if size is not None and used is not None and priority is not None:
            name = _OCTAL.sub(lambda octal: bytes((int(octal[1], 8) & 0xFF,)), words[0])
            found.append(
                Swap(name=text(name), kind=text(words[1]), size_kb=size, used_kb=used, priority=priority)
            )
    return tuple(found)


def pressure(lines: Sequence[bytes]) -> Pressure | None:
    """The two lines of /proc/pressure/memory, None without them (kernel < 4.20, or psi=0)."""
    found: dict[str, float] = {}
    for words in (line.split() for line in lines):
        for word in words[1:]:
            key, _, value = word.partition(b"=")
            number = decimal(value)
            if number is not None:
                found[text(words[0] + b"_" + key)] = number
    try:
        return Pressure(
            some_avg10=found["some_avg10"],
            some_avg60=found["some_avg60"],
            full_avg10=found["full_avg10"],
            full_avg60=found["full_avg60"],
        )
    except KeyError:
        return None
