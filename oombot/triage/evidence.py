"""Whether silence proves anything: is the kernel log whole, and does the kernel's own counter agree?"""

from collections.abc import Sequence
from dataclasses import dataclass

from oombot.model import HostSnapshot, OomKill
from oombot.triage.amounts import age, plural

_DMESG_FIX = "Let the bot's login read the kernel log: group systemd-journal or adm."


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why the log proves nothing, and what would mend that."""

    reason: str
    fix: str = ""


def doubt_about(snapshot: HostSnapshot, kills: Sequence[OomKill], since_s: float | None) -> Doubt | None:
    """Say why "no kill in the log" does not mean "no kill"; None when it does."""
    return _log_doubt(snapshot, since_s) or _counter_doubt(snapshot, kills)


def missing(snapshot: HostSnapshot, kills: Sequence[OomKill]) -> tuple[int, int] | None:
    """Compare the kernel's counter with the log: (counted, seen) where the log shows fewer; else None."""
    if snapshot.oom_kill_count is None:
        return None
    seen = sum(of_this_boot(kill, snapshot) and kill.killer == "kernel" for kill in kills)
    return (snapshot.oom_kill_count, seen) if snapshot.oom_kill_count > seen else None


def counter_text(snapshot: HostSnapshot) -> str:
    """Say what the kernel's counter shows."""
    if snapshot.oom_kill_count is None:
        return "the kernel's counter is not readable"
    return f"the kernel's counter says {plural(snapshot.oom_kill_count, 'kill')} since boot"


def of_this_boot(kill: OomKill, snapshot: HostSnapshot) -> bool:
    """Whether a kill belongs to the host's present boot, by boot id or else by time."""
    if kill.boot_id and snapshot.boot_id:
        return kill.boot_id == snapshot.boot_id
    booted_s = boot_s(snapshot)
    if kill.time_s is None or booted_s is None:
        return True
    return kill.time_s >= booted_s - 2


def boot_s(snapshot: HostSnapshot) -> float | None:
    """When the host was booted, by its own clock."""
    if snapshot.now_s is None or snapshot.uptime_s is None:
        return None
    return snapshot.now_s - snapshot.uptime_s


def _log_doubt(snapshot: HostSnapshot, since_s: float | None) -> Doubt | None:
    """Doubt a log that could not be read, or that does not reach back far enough."""
    log = snapshot.kernel_log
    if log.problem or log.source is None:
        why = log.problem or "no kernel log was found"
        return Doubt(
            reason=f"the kernel log could not be read ({why}); {counter_text(snapshot)}",
            fix=log.fix or _DMESG_FIX,
        )
    if log.since_boot and _reaches(boot_s(snapshot), since_s):
        return None
    start_s = boot_s(snapshot) if since_s is None else since_s
    if start_s is not None and log.since_s is not None and log.since_s <= start_s:
        return None  # the log of a host that keeps it over boots begins before this one
    if log.since_s is None:
        return Doubt(reason=f"it is not known how far the kernel log reaches back; {counter_text(snapshot)}")
    now_s = snapshot.taken_s if snapshot.now_s is None else snapshot.now_s
    reach_s = now_s - log.since_s
    return Doubt(
        reason=f"the kernel log reaches back only {age(reach_s)}, the rest is gone; {counter_text(snapshot)}",
        fix=f"Ask for what the log covers: /oom {snapshot.host} since {_span(reach_s)}",
    )


def _span(seconds: float) -> str:
    """Write a span as the command takes it, rounded down."""
    return f"{seconds // 3600:.0f}h" if seconds >= 7200 else f"{max(1, seconds // 60):.0f}m"


def _reaches(booted_s: float | None, since_s: float | None) -> bool:
    """Whether a log that is whole since boot covers the span asked for."""
    return since_s is None or booted_s is None or booted_s <= since_s


def _counter_doubt(snapshot: HostSnapshot, kills: Sequence[OomKill]) -> Doubt | None:
    """Doubt a log that shows fewer kills than the kernel has counted since boot."""
    if snapshot.oom_kill_count is None:
        return Doubt(
            reason="the kernel's counter (oom_kill in /proc/vmstat) could not be read, so the log can not be checked"
        )
    lost = missing(snapshot, kills)
    if lost is None:
        return None
    return Doubt(
        reason=f"counter says {lost[0]}, log shows {lost[1]}: the kernel killed, but the log lost it",
        fix="look for lost lines: journalctl -k -b on the host, and journald's rate limit",
    )
