"""What of a kernel log may leave the host: the lines of OOM reports, and of all others only that they were there.

Standard library of Python 3.9+ only; joined into the read helper at install. A line is let out by its shape, never
by its place alone: what another part of the kernel prints in the middle of a report stays. A line that is withheld
leaves its frame behind (stamp, sequence number, cursor), so that the bot can resume there and sees no false gap.
"""

from __future__ import annotations

import json
import re

REPORT_LINES = 40_000  # the longest report is a task table; what says more is none
STRAY_LINES = 400
JOURNAL_FIELDS = (
    "__CURSOR",
    "__REALTIME_TIMESTAMP",
    "__MONOTONIC_TIMESTAMP",
    "__SEQNUM",
    "__SEQNUM_ID",
    "_SOURCE_MONOTONIC_TIMESTAMP",
    "_SOURCE_BOOTTIME_TIMESTAMP",
    "_BOOT_ID",
    "_MACHINE_ID",
    "_TRANSPORT",
    "_UID",
    "PRIORITY",
    "SYSLOG_FACILITY",
    "SYSLOG_IDENTIFIER",
)
# systemd's own records of a kill: a unit's process was taken by the kernel, or by systemd-oomd
KILLER_RECORDS = ("fe6faa94e7774663a0da52717891d8ef", "d989611b15e44c9dbf31e3c81256e4ed")
KILLER_FIELDS = ("MESSAGE", "MESSAGE_ID", "UNIT", "USER_UNIT", "_PID", "_COMM", "_SYSTEMD_UNIT")

# lines that stand for themselves wherever they are, and after which a report goes on
_ALONE = re.compile(
    r".{0,40} invoked oom-killer: gfp_mask=0x"
    r"|\s*(?:(?:Memory cgroup out of memory|Out of memory)(?: \(oom_kill_allocating_task\))?: )?"
    r"[Kk]ill(?:ed)? process [0-9]+(?:, UID [0-9]+,)? \("
    r"|\s*oom-kill:constraint=CONSTRAINT_[A-Z_]+,"
    r"|\s*Task in /.* killed as a result of limit of /"
    r"|\s*Kernel panic - not syncing: (?:Out of memory|System is deadlocked on memory)"
    r"|\s*memory: usage [0-9]+kB, limit [0-9]+kB, failcnt [0-9]+\s*$"
    r"|\s*Memory cgroup stats for /|\s*Memory cgroup stats:?\s*$"
    r"|\s*Mem-Info:\s*$|\s*Tasks state \(memory values in pages\):|\s*\[ +pid +\] +uid +tgid +total_vm",
    re.DOTALL,
)
# lines that stand for themselves and come after a report or without one: nothing that follows is about them
_AFTER = re.compile(
    r"\s*Tasks in /.* are going to be killed due to memory\.oom\.group set"
    r"|\s*OOM victim [0-9]+ \(.*\) is already exiting\. Skip killing"
    r"|\s*oom_reaper: (?:reaped process|unable to reap pid:)[ 0-9]"
    r"|\s*(?:(?:Memory cgroup o|O)ut of memory and n|(?:Memory cgroup o|O)ut of memory: [Nn])o killable processes"
    r"|\s*(?:dump_header|oom_kill_process|__oom_kill_process|warn_alloc|out_of_memory): [0-9]+ callbacks suppressed",
    re.DOTALL,
)
# lines that may stand only within a report: numbers and names of the kernel's own, no text of anybody's
_WITHIN = re.compile(
    r"\s*CPU: [0-9]+ (?:UID: [0-9]+ )?PID: [0-9]+ Comm: "
    r"|\s*Hardware name: |\s*Call Trace:|\s*</?(?:TASK|IRQ|NMI)>\s*$"
    r"|\s*(?:\[<[0-9a-f]+>\] ?)?(?:\? )?[A-Za-z_][\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[[\w-]+\])?\s*$"
    r"|\s*Node [0-9]|\s*lowmem_reserve\[\]:(?: [0-9]+)+\s*$"
    r"|\s*(?:DMA|DMA32|Normal|HighMem|Movable)(?: per-cpu)?:"
    r"|\s*CPU +[0-9]+: hi:|\s*cpu[ 0-9]+ |\s*(?:Free|Total) swap\s+= |\s*Swap cache stats:"
    r"|\s*[0-9]+ (?:total pagecache pages|pages|slab pages|reserved|swap cache|pagecache|free|bytes)"
    r"|\s*(?:memory\+swap|kmem|swap): usage [0-9]"
    r"|\s*[a-z_0-9]+[ :][0-9]+(?:[kKM]?B)?(?: [a-z_0-9]+:[0-9]+(?:[kKM]?B)?)*\s*$"  # a cgroup's statistics
    r"|\s*Memory cgroup min protection [0-9]+kB -- low protection [0-9]+kB\s*$"
    r"|\s*Unreclaimable slab info:|\s*Name +Used +Total\s*$|\s*[\w.-]{1,40} +[0-9]+KB +[0-9]+KB\s*$"
)
# a row of the task table
_ROW = re.compile(r"\s*\[ *[0-9]{1,10}\]\s+[0-9]+(?:\s+-?[0-9]+){3,18} (?P<name>.{0,64})$", re.DOTALL)
_ENDS = re.compile(
    r"\s*(?:(?:Memory cgroup out of memory|Out of memory)[^:]{0,40}: )?Killed process [0-9]"
    r"|\s*OOM victim [0-9]|\s*(?:Memory cgroup o|O)ut of memory(?: and|:) [Nn]o killable processes"
)
_NAMES = re.compile(r"\s*(?:[^(]{0,70}[Kk]illed process [0-9]|oom-kill:constraint=)")
# the second half of a line whose name holds a newline
_SECOND = re.compile(
    r".{0,15}(?:\)?,? ?(?:UID [0-9]+, )?(?:total-vm|vsz):[0-9]+kB|,pid=[0-9]+,uid=[0-9]+\s*$)", re.DOTALL
)
_SIZED = re.compile(r"(?:total-vm|vsz):[0-9]|,pid=[0-9]+,uid=[0-9]+\s*$")

_KMSG = re.compile(rb"([0-9]{1,5}),[0-9]{1,20},([0-9]{1,20}),[^;]{0,64};", re.DOTALL)
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_DMESG = re.compile(rb"(?:<([0-9]{1,4})>)?(?:\[ *([0-9]{1,12}\.[0-9]{6})\](?: ?\[ *[TC][0-9]{1,10}\])? ?)?")
_SYSLOG = re.compile(
    rb"(?:<[0-9]{1,3}>)?(?:[^ \[\]]{1,16} +[0-9]{1,2} [0-9:]{8}(?:\.[0-9]{1,9})?|[0-9]{4}-[0-9]{2}-[0-9]{2}T\S{8,30})"
    rb" [^\s:\[\]]{1,255} kernel: ?(?:\[ *([0-9]{1,12}\.[0-9]{6})\] ?)?"
)


class Report:
    """Tells line by line what belongs to an OOM report; it remembers only where in one it stands."""

    def __init__(self) -> None:
        """Begin outside of any report."""
        self._left = self._stray = 0
        self._stamp: object = None
        self._open = False  # the line before lacks its end: a newline in a name has cut it in two
        self._row = 0  # the line before is a row of the task table, with so much room for the rest of a name

    def allows(self, text: str, stamp: object) -> bool:
        """Whether the text of this line may leave the host; a line without a stamp belongs to the one before."""
        same, self._stamp = stamp in (None, self._stamp), self._stamp if stamp is None else stamp
        opened, self._open = self._open and same, False
        room, self._row = self._row if same else 0, 0
        if _ALONE.match(text):
            self._left, self._stray = (0 if _ENDS.match(text) else REPORT_LINES), 0
            self._open = _NAMES.match(text) is not None and _SIZED.search(text) is None
            return True
        if _AFTER.match(text):
            self._left = (
                0 if _ENDS.match(text) else self._left
            )  # the reaper may speak in the middle of the next
            return True
        if opened and _SECOND.match(text):
            return True
        if self._left > 0:
            self._left -= 1
            return self._within(text, room)
        return False

    def _within(self, text: str, room: int) -> bool:
        row = _ROW.match(text)
        if row or _WITHIN.match(text) or len(text) < room:
            self._stray, self._row = 0, 16 - len(row["name"]) - 1 if row else 0
            return True
        self._stray += 1
        if self._stray > STRAY_LINES:
            self._left = 0
        return False


def journal(line: bytes, report: Report, *, keep_all: bool = True) -> bytes | None:
    """One record of `journalctl -o json`, with its text where that may leave; None where nothing may."""
    try:
        fields = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    found = {name: fields[name] for name in JOURNAL_FIELDS if name in fields}
    if fields.get("_TRANSPORT") == "kernel" and fields.get("SYSLOG_FACILITY") == "0":
        text = _message(fields.get("MESSAGE"))
        if text is not None and report.allows(text, fields.get("_SOURCE_MONOTONIC_TIMESTAMP")):
            return json.dumps({**found, "MESSAGE": text}).encode()
        return json.dumps({**found, "MESSAGE": ""}).encode() if keep_all else None
    if fields.get("MESSAGE_ID") in KILLER_RECORDS and fields.get("_UID") == "0":
        more = {name: fields[name] for name in KILLER_FIELDS if name in fields}
        return json.dumps({**found, **more}).encode()
    return (
        json.dumps({name: found[name] for name in found if name.startswith("__")}).encode()
        if keep_all
        else None
    )


def _message(value: object) -> str | None:
    """A string, or an array of byte values where the text is not printable."""
    if isinstance(value, list) and value and all(type(byte) is int and 0 <= byte < 256 for byte in value):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, list) and value and isinstance(value[0], (str, list)):
        return _message(value[0])
    return value if isinstance(value, str) else None


def kmsg(line: bytes, report: Report) -> bytes | None:
    """One record of /dev/kmsg; without its text where that stays, so that the sequence has no hole."""
    match = _KMSG.match(line)
    if match is None:
        return None
    text = _ESCAPE.sub(lambda one: bytes([int(one[1], 16)]), line[match.end() :]).decode("utf-8", "replace")
    kernel = int(match[1]) >> 3 == 0
    return line if kernel and report.allows(text, match[2]) else line[: match.end()]


def dmesg(line: bytes, report: Report) -> bytes | None:
    """One line of dmesg, raw or not; without its text where that stays."""
    match = _DMESG.match(line)
    assert match is not None
    kernel = match[1] is None or int(match[1]) >> 3 == 0
    text = line[match.end() :].decode("utf-8", "replace")
    return line if kernel and report.allows(text, match[2]) else line[: match.end()]


def syslog(line: bytes, report: Report) -> bytes | None:
    """One line of a log file: None where it is not the kernel's, without its text where that stays."""
    match = _SYSLOG.match(line)
    if match is None:
        return None
    text = line[match.end() :].decode("utf-8", "replace")
    return line if report.allows(text, match[1]) else line[: match.end()]


class Followed:
    """Filters the output of a detector's script line by line."""

    def __init__(self, source: str) -> None:
        """Take the detector's name."""
        self._source, self._report = source, Report()
        self._path, self._at = b"", 0  # where in its file the next line of syslog stands

    def feed(self, line: bytes) -> list[bytes]:
        """What of this line may leave."""
        if self._source == "journald" and line.startswith(b"{"):
            return _some(journal(line, self._report))
        if self._source == "kmsg" and line[:1].isdigit():
            return _some(kmsg(line, self._report))
        if self._source == "dmesg" and line.startswith(b"|"):
            found = dmesg(line[1:], self._report)
            return [] if found is None else [b"|" + found]
        if self._source == "syslog" and line.startswith(b"|"):
            return self._of_file(line[1:])
        return self._mark(line)

    def _of_file(self, line: bytes) -> list[bytes]:
        """The cursor counts bytes, so what is shortened is said to begin later."""
        self._at += len(line) + 1
        found = syslog(line, self._report)
        if found is None:
            return []
        return [b"@@from %s %d" % (self._path, self._at - len(found) - 1), b"|" + found]

    def _mark(self, line: bytes) -> list[bytes]:
        words = line.split()
        if words[:1] == [b"@@from"] and len(words) == 4 and words[3].isdigit():
            self._path, self._at = b" ".join(words[1:3]), int(words[3])
            return [line]
        return [line] if not line or line.startswith(b"@@") else []


def _some(line: bytes | None) -> list[bytes]:
    return [] if line is None else [line]


# why a source could not be read: words of the script and of programs, never a line of a log
_TRIED = re.compile(
    rb"tried [a-z]+: (?:journalctl is not installed|no kernel entry is visible|no readable kern\.log[a-z ,./]*"
    rb"|(?:dd|dmesg|sh|/bin/sh)(?:: [^:]{1,60}){1,5})$"
)


class Reading:
    """Filters the answer of the read script: everything before the log as it is, the log by its shapes."""

    def __init__(self) -> None:
        """Begin with the first section."""
        self._section = b""
        self._source = b""
        self._report = Report()
        self._end: list[bytes] = []  # `@@end` is the last line of all, or a line of the log

    def feed(self, line: bytes) -> list[bytes]:
        """What of this line may leave."""
        if self._section == b"@@log":
            return self._of_log(line)
        if line.startswith(b"@@"):
            self._section = line.split(b" ")[0]
            if self._section == b"@@end":
                self._section = b"@@log"
                return self._of_log(line)
            return [line]
        return self._of_source(line) if self._section == b"@@log_source" else [line]

    def close(self) -> list[bytes]:
        """The end mark, where it came last."""
        return self._end

    def _of_source(self, line: bytes) -> list[bytes]:
        if line.startswith(b"source "):
            self._source = line[7:]
        elif line.startswith(b"oldest "):
            found = journal(line[7:], Report())
            return [] if found is None else [b"oldest " + found]
        elif line.startswith(b"tried ") and not _TRIED.match(line):
            return [line.split(b":")[0] + b": it can not be read"]
        return [line]

    def _of_log(self, line: bytes) -> list[bytes]:
        self._end = [line] if line == b"@@end" else []
        if self._end:
            return []
        if line.startswith(b"@@boot "):
            return [line]
        if self._source == b"journald":
            return _some(journal(line, self._report, keep_all=False))
        reader = {b"kmsg": kmsg, b"dmesg": dmesg, b"syslog": syslog}.get(self._source)
        return _some(reader(line, self._report)) if reader is not None else []
