"""Lines of a log file or of something pasted: the transport is found out line by line, by what stands there."""

import json
import re
from dataclasses import dataclass, replace

from oombot.framing.clock import iso_time, syslog_time
from oombot.framing.records import journal_record, kmsg_record
from oombot.model import Entry

MAX_LINE_LENGTH = 65_536

_SPACE = " "
# virsh console, xl dmesg and container logs put these before a guest's console
_CONSOLE = re.compile(r"(?:\(XEN\) |\(d[0-9]{1,5}\) |[A-Za-z0-9_.-]{1,64} +\| )(?=\[|<[0-9])")
# RFC 5424: "<3>1 2026-11-23T01:43:08.657053+00:00 host kernel - - - text"
_RFC5424 = re.compile(
    r"<(?P<pri>[0-9]{1,3})>1 (?P<iso>\S{10,40}) (?P<host>\S{1,255}) (?P<tag>\S{1,48}) \S{1,128} \S{1,32} "
    r"(?:-|\[[^\]]{0,1024}\]) ?"
)
# dmesg -r, and RFC 3164 with its priority
_LEVEL = re.compile(r"<(?P<pri>[0-9]{1,3})>")
# dmesg -x: "kern  :err   : "
_DECODED = re.compile(
    r"(?P<facility>kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local[0-7]) *: ?"
    r"(?:emerg|alert|crit|err|warn|warning|notice|info|debug) *: "
)
# rsyslog's ISO form, journalctl -o short-iso (no colon in the zone), dmesg --time-format iso (a comma)
_ISO = re.compile(
    r"(?P<iso>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?P<fraction>[.,][0-9]{1,9})?"
    r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?) "
)
# RFC 3164 and journalctl -o short, -o short-precise; months are written in the reader's language
_RFC3164 = re.compile(
    r"(?P<stamp>(?:[^\W\d_]{3,9}\.?|[0-9]{1,2}月) +[0-9]{1,2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?) "
)
_HOST_TAG = re.compile(r"(?P<host>[^\s:\[\]]{1,255}) (?P<tag>[^\s:\[\]]{1,64})(?:\[[0-9]{1,10}\])?: ?")
_HOST_KERNEL = re.compile(r"(?P<host>[^\s:\[\]]{1,255}) kernel: ?")
# print_time() and print_caller() of kernel/printk; dmesg -d adds the distance; a paste can lack the first bracket
_STAMP = re.compile(
    r"(?:\[ *|^)(?P<mono>[0-9]{1,12}\.[0-9]{6})(?P<delta> <[ 0-9.]{1,24}>)?\](?: ?\[ *[TC][0-9]{1,10}\])? ?"
)
# dmesg --time-format delta, reltime and -e/-H
_DELTA = re.compile(
    r"\[(?:<[ 0-9.]{1,24}>| *\+[0-9]{1,12}\.[0-9]{1,9}|\w{3,9}\.? *[0-9]{1,2} [0-9]{2}:[0-9]{2})\] "
)
# dmesg -T in any language: "[Mon Nov 23 01:30:07 2026] ", "[四 3月 18 18:47:12 2021] "
_CTIME = re.compile(r"\[(?=[^\]]{12,64}\] )[^\]\d][^\]]*? [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}\] ")
# devkmsg_read(): " SUBSYSTEM=…" and " DEVICE=…" behind a record
_DICTIONARY = re.compile(rb" [A-Z_]{1,64}=")
# dmesg -J writes one member a line
_JSON_TIME = re.compile(r'\s*"time": *(?P<mono>[0-9]{1,12}\.[0-9]{1,9}),?\s*')
_JSON_TEXT = re.compile(r'\s*"msg": *(?P<json>".*")\s*')
# safe_fwrite() of util-linux's dmesg; rsyslog's $EscapeControlCharactersOnReceive
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
_OCTAL = re.compile(r"#(?P<octal>0[0-3][0-7])")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """What a line's prefix said, and the text behind it."""

    text: str
    form: str = "plain"
    mono_s: float | None = None
    time_s: float | None = None
    kernel: bool | None = None
    stamp: str = ""


class Framing:
    """Strips the transport from lines of one log.

    A stamp without a year names a moment only in `year`, as UTC; `dmesg -T` prints local time without a zone, which
    is also wrong after a suspend, so it never does.
    """

    def __init__(self, *, year: int | None = None) -> None:
        """Begin a log; nothing of an earlier one is known."""
        self._year = year
        self._forms: dict[str, None] = {}
        self._indent = 0
        self._last: Entry | None = None
        self._json_mono_s: float | None = None

    @property
    def forms(self) -> tuple[str, ...]:
        """The transports seen so far, by name, in the order of their first line."""
        return tuple(self._forms)

    def feed(self, line: bytes) -> Entry | None:
        """Free one line; None for a line that belongs to the transport alone."""
        line = line.rstrip(b"\r\n")[:MAX_LINE_LENGTH]
        if line.startswith(b"{") and (record := journal_record(line)) is not None:
            self._saw("journal-json")
            if record.text is None:
                return None
            return Entry(
                text=record.text,
                mono_s=record.mono_s,
                time_s=record.realtime_s,
                cursor=record.cursor,
                boot_id=record.boot_id,
                kernel=record.kernel,
            )
        if (kmsg := kmsg_record(line)) is not None:
            self._saw("kmsg")
            self._last = Entry(text=kmsg.text, mono_s=kmsg.mono_s, kernel=kmsg.facility == 0)
            return self._last
        if self._last is not None and self._indent == 0 and _DICTIONARY.match(line):
            return None
        return self._text(line.decode("utf-8", "replace"))

    def _text(self, line: str) -> Entry | None:
        if self._dmesg_json_time(line):
            return None
        if (member := self._dmesg_json_text(line)) is not None:
            return member
        if self._last is not None and self._indent and line.startswith(_SPACE * self._indent):
            return replace(self._last, text=_unhex(line[self._indent :]))
        frame = _strip(line, self._year)
        self._saw(frame.form)
        text = frame.text
        if frame.form.startswith("syslog"):
            text = _OCTAL.sub(lambda match: chr(int(match["octal"], 8)), text)
        elif frame.form.startswith("dmesg"):
            text = _unhex(text)
        entry = Entry(text=text, mono_s=frame.mono_s, time_s=frame.time_s, kernel=frame.kernel)
        # dmesg and journalctl indent the second line of a message by the width of the first one's prefix
        self._indent = len(line) - len(frame.text)
        self._last = entry if self._indent else None
        return entry

    def _saw(self, form: str) -> None:
        self._forms.setdefault(form)

    def _dmesg_json_time(self, line: str) -> bool:
        time = _JSON_TIME.fullmatch(line)
        if time is not None:
            self._json_mono_s = float(time["mono"])
        return time is not None

    def _dmesg_json_text(self, line: str) -> Entry | None:
        match = _JSON_TEXT.fullmatch(line) if self._json_mono_s is not None else None
        if match is None:
            return None
        try:
            text = json.loads(match["json"])
        except ValueError:
            return None
        self._saw("dmesg-json")
        mono_s, self._json_mono_s = self._json_mono_s, None
        return Entry(text=str(text), mono_s=mono_s)


def _strip(line: str, year: int | None) -> _Frame:
    if console := _CONSOLE.match(line):
        line = line[console.end() :]
    if new := _RFC5424.match(line):
        kernel = new["tag"] == "kernel" and int(new["pri"]) >> 3 == 0
        frame = _Frame(text=line[new.end() :], form="syslog-rfc5424", time_s=iso_time(new["iso"]))
        return _stamped(replace(frame, kernel=None if kernel else False))
    kernel_facility: bool | None = None
    form = "plain"
    if level := _LEVEL.match(line):
        form, kernel_facility = "dmesg-r", None if int(level["pri"]) >> 3 == 0 else False
        line = line[level.end() :]
    elif decoded := _DECODED.match(line):
        form, kernel_facility = "dmesg-x", None if decoded["facility"] == "kern" else False
        line = line[decoded.end() :]
    frame = _dated(line, year) or _stamped(_Frame(text=line))
    return replace(
        frame,
        form=form if frame.form in ("plain", "dmesg") and form != "plain" else frame.form,
        kernel=frame.kernel if kernel_facility is None else kernel_facility,
    )


def _dated(line: str, year: int | None) -> _Frame | None:
    if iso := _ISO.match(line):
        time_s, rest = iso_time(iso["iso"]), line[iso.end() :]
        if (iso["fraction"] or "").startswith(","):
            return _Frame(text=rest, form="dmesg-iso", time_s=time_s)
        return _tagged(_Frame(text=rest, form="syslog-iso", time_s=time_s))
    if old := _RFC3164.match(line):
        time_s = None if year is None else syslog_time(old["stamp"], year=year)
        return _tagged(
            _Frame(text=line[old.end() :], form="syslog-rfc3164", time_s=time_s, stamp=old["stamp"])
        )
    if ctime := _CTIME.match(line):
        return _Frame(text=line[ctime.end() :], form="dmesg-T")
    if delta := _DELTA.match(line):
        return _Frame(text=line[delta.end() :], form="dmesg-delta")
    return None


def syslog_frame(line: str) -> tuple[str, str, float | None, float | None] | None:
    """(text, stamp without a year or "", ISO time, kernel's clock) of a kernel line of a syslog file, else None."""
    frame = _strip(line, None)
    if not frame.form.startswith("syslog") or frame.kernel is False:
        return None
    text = _OCTAL.sub(lambda match: chr(int(match["octal"], 8)), frame.text)
    return text, frame.stamp, frame.time_s, frame.mono_s


def _tagged(frame: _Frame) -> _Frame:
    """Behind a syslog time stand the host and the tag; only the kernel's lines are the kernel's."""
    match = _HOST_TAG.match(frame.text)
    if match is None:
        return frame
    kernel = None if match["tag"] == "kernel" else False
    return _stamped(replace(frame, text=frame.text[match.end() :], kernel=kernel))


def _stamped(frame: _Frame) -> _Frame:
    """The kernel's own stamp, and what journalctl -o short-monotonic puts behind it."""
    match = _STAMP.match(frame.text)
    if match is None:
        rest = frame.text.removeprefix("kernel: ")
        return frame if rest == frame.text else replace(frame, text=rest, form="journal-cut")
    rest = frame.text[match.end() :]
    frame = replace(frame, text=rest, mono_s=float(match["mono"]))
    if frame.form != "plain":
        return frame
    if host := _HOST_KERNEL.match(rest):
        return replace(frame, text=rest[host.end() :], form="journal-short-monotonic")
    return replace(frame, form="dmesg-delta" if match["delta"] else "dmesg")


def _unhex(text: str) -> str:
    r"""Undo dmesg's \xNN of bytes that can not be printed; one that could be was typed, and stays."""
    return _HEX.sub(_undo, text)


def _undo(match: re.Match[str]) -> str:
    raw = bytes(int(part, 16) for part in match[0].split("\\x")[1:])
    if any(0x20 <= byte < 0x7F for byte in raw):
        return match[0]
    return raw.decode("utf-8", "replace")
