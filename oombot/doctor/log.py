"""Each host: which kernel log is followed, which others were tried and why not, and what outlives a reboot."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered, HostFacts
from oombot.doctor.shape import HostCheck, Line, ok, unknown, warning, wrong

_WHY = "without the kernel's log a kill is at best counted: no name, no cause"
_NAMES = {"journald": "the journal", "kmsg": "/dev/kmsg", "dmesg": "dmesg", "syslog": "log files"}


def _lines(host: HostFacts, gathered: Gathered) -> Iterable[Line]:
    del gathered
    if host.fault is not None or host.answered_s is None:
        return
    if host.snapshot is None:
        fault = host.reading_fault
        fix = (fault and fault.fix) or f"oombot ask {host.name}"
        yield wrong("source", fault.said if fault else "the host could not be read", _WHY, fix)
        return
    log = host.snapshot.kernel_log
    if log.source is None:
        fix = log.fix or f"oombot sudoers {host.name}"
        yield wrong("source", log.problem or "no kernel log can be read", _WHY, fix)
        return
    yield ok("source", f"follows {_NAMES.get(log.source, log.source)}{_others(host, log.source)}")
    if log.source in {"kmsg", "dmesg"}:
        yield warning(
            "reboot",
            f"{_NAMES[log.source]} forgets everything at a reboot",
            "the kill that made somebody reboot is the one that matters",
            _journal_fix(host),
        )
    elif log.source == "journald" and host.settings is not None:
        yield from _kept(host.settings.journal_kept)
    if log.source == "dmesg":
        yield warning(
            "stamps",
            "dmesg's times drift from the wall clock over suspends and weeks",
            "the time of a kill is approximate",
            _journal_fix(host),
        )


def _others(host: HostFacts, source: str) -> str:
    """What else was tried: each source with why not."""
    if host.settings is None:
        return ""
    parts = [
        f"{_NAMES[name]}: {'readable too' if said == 'ok' else said}"
        for name, said in host.settings.sources.items()
        if name != source
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def _kept(kept: bool | None) -> Iterable[Line]:
    why = "the kill that made somebody reboot is the one that matters"
    fix = "on the host: sudo mkdir -p /var/log/journal && sudo journalctl --flush"
    if kept is False:
        yield warning("reboot", "the journal is kept in memory and is gone after a reboot", why, fix)
    elif kept is None:
        yield unknown("reboot", "whether the journal outlives a reboot is not known", why, fix)
    else:
        yield ok("reboot", "the journal outlives a reboot")


def _journal_fix(host: HostFacts) -> str:
    snapshot, user = host.snapshot, host.settings.user if host.settings else ""
    if snapshot is not None and not snapshot.has_systemd:
        return "on the host: let its syslog daemon write kern.log, readable for group adm"
    return f"on the host: sudo usermod -aG systemd-journal {user or 'ACCOUNT'}"


CHECK = HostCheck(name="log", rank=110, lines=_lines)
