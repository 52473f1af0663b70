"""Which kernel log could be read, how far back it reaches, and what to do when there is none."""

import json
import re
from collections.abc import Sequence
from datetime import datetime

from oombot.facts.sections import Sections, text
from oombot.model import KernelLog

_SOURCES = frozenset({"journald", "kmsg", "dmesg", "syslog"})
_USER = re.compile(rb"[a-z_][a-z0-9_.-]{0,31}")
_JUST_BOOTED_US = 5_000_000
# Documentation/ABI/testing/dev-kmsg: "prio,sequence,usec since boot,flags;text"
_KMSG = re.compile(rb"[0-9]{1,4},(?P<seq>[0-9]{1,20}),(?P<us>[0-9]{1,20}),")
# print_time() of kernel/printk: "[   78.354390] text", dmesg --raw puts the level before it
_DMESG = re.compile(rb"(?:<[0-9]{1,4}>)?\[\s*(?P<s>[0-9]{1,12}\.[0-9]{6})\]")
_ISO = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}(?:Z|[+-][0-9]{2}:[0-9]{2})")


def kernel_log(
    sections: Sections, booted_s: float | None, login_uid: int | None
) -> tuple[KernelLog, list[str]]:
    """The log with its own problem and fix, and what else is to be said about it."""
    said = sections.named.get("log_source", ())
    source = next((text(line[7:]) for line in said if line.startswith(b"source ")), None)
    if source not in _SOURCES:
        return _unreadable(said, login_uid)
    cut = b"cut" in said
    lines = tuple(line for line in sections.log if line)
    if cut and source != "journald" and len(lines) > 1:
        lines = (lines[0], *lines[2:])  # the first record after the mark is only half there
    since_s, since_boot = _reach(source, said, lines, booted_s, cut=cut)
    notes = ["kernel log: only the newest 1 MiB was read"] if cut else []
    log = KernelLog(source=source, lines=lines, since_s=since_s, since_boot=since_boot and not cut)
    return log, notes


def _unreadable(said: Sequence[bytes], login_uid: int | None) -> tuple[KernelLog, list[str]]:
    tried = [text(line[6:]) for line in said if line.startswith(b"tried ")]
    problem = "the kernel log can not be read (" + ("; ".join(tried) or "no answer") + ")"
    user = next((line[5:] for line in said if line.startswith(b"user ")), b"")
    name = user.decode() if _USER.fullmatch(user) else "USER"
    group = "adm" if any("journalctl is not installed" in reason for reason in tried) else "systemd-journal"
    fix = f"sudo usermod -aG {group} {name}" if tried and login_uid != 0 else ""
    return KernelLog(source=None, lines=(), problem=problem, fix=fix), [problem]


def _reach(
    source: str, said: Sequence[bytes], lines: Sequence[bytes], booted_s: float | None, *, cut: bool
) -> tuple[float | None, bool]:
    """When the oldest entry was written, and whether that is the host's own boot."""
    first = lines[1] if len(lines) > 1 else b""
    if source == "journald":
        oldest = next((line[7:] for line in said if line.startswith(b"oldest ")), b"")
        return _journal_reach(first if cut else oldest)
    if record := _KMSG.match(first):
        return _after(booted_s, int(record["us"]) / 1e6), int(record["seq"]) == 0
    if stamp := _DMESG.match(first):
        return _after(booted_s, float(stamp["s"])), float(stamp["s"]) == 0.0
    if iso := _ISO.match(first):
        return _wall(iso[0].decode()), False
    return None, False


def _journal_reach(oldest: bytes) -> tuple[float | None, bool]:
    try:
        entry = json.loads(oldest)
        since_s = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        ticks_us = int(entry.get("_SOURCE_MONOTONIC_TIMESTAMP") or entry["__MONOTONIC_TIMESTAMP"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None, False
    return since_s, ticks_us < _JUST_BOOTED_US


def _after(booted_s: float | None, seconds: float) -> float | None:
    return None if booted_s is None else booted_s + seconds


def _wall(stamp: str) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (ValueError, OverflowError):
        return None
