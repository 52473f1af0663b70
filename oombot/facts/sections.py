"""Cuts a read answer into its named sections, and finds words and numbers in foreign lines."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_DIGITS = 20
_INTEGER = re.compile(rb"-?[0-9]{1,20}")
_DECIMAL = re.compile(rb"[0-9]{1,15}(\.[0-9]{1,9})?")
_MARK = re.compile(rb"@@([a-z_]{1,20})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """The sections of one answer; `log` is the last one and may hold anything. `cut_in` is where the answer ended.

    `cut_in` is None when the end mark has come, else the name of the section that is not whole.
    """

    named: Mapping[str, Sequence[bytes]]
    log: tuple[bytes, ...]
    cut_in: str | None


def split(raw: bytes) -> Sections:
    """Cut the answer at its marks; a last line without its newline is dropped."""
    lines = raw.split(b"\n")
    whole = lines[-1] == b"" and lines[-2:-1] == [b"@@end"]
    name = "start"
    named: dict[str, list[bytes]] = {}
    found: list[bytes] = []  # of the section that is read now
    log: tuple[bytes, ...] = ()
    for at, line in enumerate(lines[: -2 if whole else -1]):
        if line == b"@@log":
            name, log = "log", tuple(lines[at + 1 : -2 if whole else -1])
            break
        mark = _MARK.fullmatch(line.split(b" ", 1)[0]) if line.startswith(b"@@") else None
        if mark:
            name = mark[1].decode()
            found = named.setdefault(name, [])
        else:
            found.append(line)
    return Sections(named=named, log=log, cut_in=None if whole else name)


def integer(word: bytes | None) -> int | None:
    """A whole number, or None for anything else."""
    if word is None:
        return None
    plain = word.isdigit() and len(word) <= _DIGITS  # nearly all are; the expression costs twice as much
    return int(word) if plain or _INTEGER.fullmatch(word) else None


def decimal(word: bytes | None) -> float | None:
    """A number without a sign, or None for anything else (`nan` too)."""
    return float(word) if word is not None and _DECIMAL.fullmatch(word) else None


def text(word: bytes) -> str:
    """Foreign bytes as text; what is not UTF-8 is replaced."""
    return word.decode("utf-8", "replace")


def pairs(lines: Sequence[bytes], separator: bytes = b" ") -> dict[bytes, bytes]:
    """`key value` lines as a dict, the last of a key winning."""
    return {key: value.strip() for key, _, value in (line.partition(separator) for line in lines)}
