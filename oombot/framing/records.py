"""Records that carry their own frame: /dev/kmsg and the journal as JSON."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# devkmsg_read(), Documentation/ABI/testing/dev-kmsg: "prio,sequence,usec,flags[,…];text"
_KMSG = re.compile(
    rb"(?P<prio>[0-9]{1,5}),(?P<seq>[0-9]{1,20}),(?P<usec>[0-9]{1,20}),(?P<flags>[^;]{0,64});(?P<text>.*)",
    re.DOTALL,
)
# msg_add_ext_text(): every byte that is not printable ASCII, and the backslash, as \xNN
_ESCAPE = re.compile(rb"\\x(?P<byte>[0-9a-f]{2})")
_FACILITY_SHIFT = 3  # the lower three bits are the level


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsgRecord:
    """One record of /dev/kmsg; facility 0 is the kernel, every other one is a process that wrote to the device."""

    facility: int
    seq: int
    mono_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRecord:
    """One entry of the journal; `text` is None where journalctl did not show it."""

    text: str | None
    cursor: str | None
    boot_id: str | None
    realtime_s: float | None
    mono_s: float | None
    boottime_s: float | None
    kernel: bool


def kmsg_record(line: bytes) -> KmsgRecord | None:
    """Read one record; None for the ` KEY=value` lines that follow it and for anything else."""
    match = _KMSG.fullmatch(line)
    if match is None:
        return None
    raw = _ESCAPE.sub(lambda escape: bytes([int(escape["byte"], 16)]), match["text"])
    return KmsgRecord(
        facility=int(match["prio"]) >> _FACILITY_SHIFT,
        seq=int(match["seq"]),
        mono_s=int(match["usec"]) / 1e6,
        text=raw.decode("utf-8", "replace"),
    )


def journal_record(line: bytes) -> JournalRecord | None:
    """Read one line of `journalctl -o json`; None where it is not a JSON object of the journal."""
    try:
        fields = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not ("MESSAGE" in fields or "__CURSOR" in fields):
        return None
    boot_id = fields.get("_BOOT_ID")
    cursor = fields.get("__CURSOR")
    mono_s = _micro(fields, "_SOURCE_MONOTONIC_TIMESTAMP")
    boottime_s = _micro(fields, "_SOURCE_BOOTTIME_TIMESTAMP")
    return JournalRecord(
        text=_message(fields.get("MESSAGE")),
        cursor=cursor if isinstance(cursor, str) else None,
        boot_id=_dashed(boot_id) if isinstance(boot_id, str) else None,
        realtime_s=_micro(fields, "__REALTIME_TIMESTAMP"),
        # systemd 257 and later call the kernel's stamp boot time, and write it under the old name as well
        mono_s=boottime_s if mono_s is None else mono_s,
        boottime_s=boottime_s,
        # journald writes both for each record of /dev/kmsg, and a client can set neither of them so: fields that
        # begin with an underscore are journald's own. A process that writes to /dev/kmsg has another facility.
        kernel=fields.get("_TRANSPORT") == "kernel" and fields.get("SYSLOG_FACILITY") == "0",
    )


def _message(value: Any) -> str | None:
    """A string, or an array of byte values where the text is not printable, or null where it is too long."""
    if isinstance(value, str):  # half a surrogate pair is no text that can be stored
        return value.encode("utf-8", "replace").decode()
    if not isinstance(value, list) or not value:
        return None
    if isinstance(value[0], str | list):  # the field was there more than once
        return _message(value[0])
    if all(type(byte) is int and 0 <= byte < 256 for byte in value):
        return bytes(value).decode("utf-8", "replace")
    return None


def _micro(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if not isinstance(value, str) or not value.isascii() or not value.isdecimal() or len(value) > 20:
        return None
    return int(value) / 1e6


def _dashed(boot_id: str) -> str:
    """journald writes a boot id without dashes, /proc with them: one form for both."""
    if len(boot_id) != 32:
        return boot_id
    return "-".join((boot_id[:8], boot_id[8:12], boot_id[12:16], boot_id[16:20], boot_id[20:]))
