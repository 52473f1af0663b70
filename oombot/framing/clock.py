"""What a follow script says about its host in its first line, and the marks between the log's own lines."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from oombot.model import Gap, Live

# A shell fragment for the first line of every follow script; the last field is the host's offset from UTC. The time
# is asked for before the uptime: date takes a while, and a kill that is dated too late seems to come after the restart
# that it caused.
HEADER_SH = r"""boot='' up='' rest='' now=$(date +%s)
{ read -r boot </proc/sys/kernel/random/boot_id; read -r up rest </proc/uptime; } 2>/dev/null
printf '@@boot %s %s %s %s\n' "${boot:--}" "${up:--}" "$now" "$(date +%z)"
"""

BOOT_ID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
_HEADER = re.compile(
    rf"@@boot (?P<boot>{BOOT_ID}|-|) (?P<up>{_NUMBER}|-|) (?P<now>{_NUMBER}|-|)(?: (?P<zone>[+-][0-9]{{4}}))?\s*"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# RFC 3164: "Nov 23 01:43:14", journalctl -o short-precise adds the fraction
_SYSLOG_TIME = re.compile(
    r"(?P<month>\w{3,9}|[0-9]{1,2}月) +(?P<day>[0-9]{1,2}) "
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?P<fraction>\.[0-9]{1,9})?"
)
_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class HostClock:
    """The host's boot and clock at the start of a reading; None where the host could not say."""

    boot_id: str | None = None
    uptime_s: float | None = None
    now_s: float | None = None
    utc_offset_s: int | None = None

    @property
    def booted_s(self) -> float | None:
        """When the host was started, on its present clock."""
        return None if self.now_s is None or self.uptime_s is None else self.now_s - self.uptime_s

    def at(self, mono_s: float | None) -> float | None:
        """Wall time of a moment since boot: a suspended host makes it late, so it is approximate."""
        booted_s = self.booted_s
        return None if booted_s is None or mono_s is None else booted_s + mono_s


def header(line: bytes) -> HostClock | None:
    """Read the first line; None where it is something else."""
    match = _HEADER.fullmatch(line.decode("ascii", "replace"))
    if match is None:
        return None
    zone = match["zone"]
    offset_s = None
    if zone:
        offset_s = (int(zone[1:3]) * 60 + int(zone[3:])) * (-60 if zone[0] == "-" else 60)
    return HostClock(
        boot_id=match["boot"] if len(match["boot"]) > 1 else None,
        uptime_s=_float(match["up"]),
        now_s=_float(match["now"]),
        utc_offset_s=offset_s,
    )


def mark(line: bytes) -> Live | Gap | None:
    """Read `@@live`, `@@gap TEXT` and `@@problem TEXT`."""
    if line.rstrip() == b"@@live":
        return Live()
    for word in (b"@@gap ", b"@@problem "):
        if line.startswith(word):
            text = line[len(word) :].decode("utf-8", "replace")
            clean = "".join(c if c.isprintable() else " " for c in text).strip()
            return Gap(reason=clean[:200], unreadable=word == b"@@problem ")
    return None


def iso_time(text: str) -> float | None:
    """An ISO 8601 stamp with its zone; without a zone it names no moment."""
    try:
        moment = datetime.fromisoformat(text.replace(",", "."))
        return moment.timestamp() if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def syslog_time(text: str, *, year: int, utc_offset_s: int = 0) -> float | None:
    """A stamp without a year, in the year that is given; only English and numbered months are understood."""
    match = _SYSLOG_TIME.fullmatch(text)
    month = _month(match["month"]) if match else None
    if match is None or month is None:
        return None
    try:
        moment = datetime(
            year,
            month,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            int(match["second"]),
            tzinfo=timezone(timedelta(seconds=utc_offset_s)),
        )
        return moment.timestamp() + float(match["fraction"] or 0)
    except (ValueError, OverflowError):
        return None


def latest_syslog_time(text: str, clock: HostClock) -> float | None:
    """The latest moment that a stamp without a year can mean; None while the host's zone is not known."""
    if clock.now_s is None or clock.utc_offset_s is None:
        return None
    try:
        year = datetime.fromtimestamp(clock.now_s, UTC).year + 1
    except (ValueError, OverflowError, OSError):
        return None
    for candidate in (year, year - 1, year - 2):
        time_s = syslog_time(text, year=candidate, utc_offset_s=clock.utc_offset_s)
        if time_s is not None and time_s <= clock.now_s + _DAY_S:
            return time_s
    return None


def _month(name: str) -> int | None:
    digits = name.removesuffix("月")
    if digits != name:
        return int(digits) if digits.isdecimal() and 1 <= int(digits) <= 12 else None
    short = name[:3].lower()
    return _MONTHS.index(short) + 1 if short in _MONTHS else None


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
