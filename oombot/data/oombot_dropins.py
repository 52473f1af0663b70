"""What systemd's unit files say of memory limits: the files of set-property, and what would hold after a daemon-reload.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import os
import re
from typing import Any

from oombot.data.oombot_site import Site, UntouchedError, tell

# where set-property writes: of two files of one name, that in the folder that stands higher counts (systemd.unit(5))
CONTROL_FOLDERS = {
    "control": "/etc/systemd/system.control",
    "runtime": "/run/systemd/system.control",
    "transient": "/run/systemd/transient",
}
MAX_TEXT = 4096
PLAIN_LIMIT = re.compile(
    r"(?:[0-9]{1,20}(?:\.[0-9]{1,6})?[KMGTPE]?B?|[0-9]{1,3}(?:\.[0-9]{1,2})?%|infinity|)", re.ASCII
)


def limit_path(unit: str, key: str) -> str:
    """The file of set-property for a kind and a setting, such as runtime/MemoryMax."""
    kind, setting = key.split("/")
    return f"{CONTROL_FOLDERS[kind]}/{unit}.d/50-{setting}.conf"


def holds_only(text: Any, setting: str) -> bool:
    """Whether a drop-in holds nothing but comments, a section and this limit."""
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        return False
    if any(char == "\ufffd" or not (char.isprintable() or char in "\n\t") for char in text):
        return False
    return all(_is_limit_line(line.strip(), setting) for line in text.split("\n"))


def _is_limit_line(line: str, setting: str) -> bool:
    if not line or line in ("[Service]", "[Slice]"):
        return True
    key, equals, value = line.partition("=")
    known = bool(equals and key.rstrip() == setting and PLAIN_LIMIT.fullmatch(value.lstrip()))
    return (known or line[0] in "#;") and not line.endswith("\\")


def limit_in_files(site: Site, found: dict[str, str], setting: str, texts: dict[str, str | None]) -> str:
    """The limit that systemd would hold after reading a unit's files again, with `texts` in the place of those of
    set-property. `found` has its Id and FragmentPath.

    Drop-ins are read in the order of their names; of one name only that in the first folder counts (systemd.unit(5)).
    """
    name, dropped = f"50-{setting}.conf", _drop_ins(site, found["Id"])
    ours = [texts.get(f"{kind}/{setting}") for kind in CONTROL_FOLDERS]
    first = next((text for text in ours if text is not None), None)
    value = _limit_of(_text_of(site, found.get("FragmentPath", "")), setting, "infinity")
    for base in sorted({*dropped, name}):
        if base == name and first is not None:
            value = _limit_of(first, setting, value)
        elif base in dropped:
            value = _limit_of(_text_of(site, dropped[base]), setting, value)
    return limit_bytes(site, value)


def _drop_ins(site: Site, unit: str) -> dict[str, str]:
    """The drop-in of each name that counts, those of set-property for the unit itself apart, read or not."""
    search = tell(site, "systemctl", "show", "--no-pager", "-p", "UnitPath").strip().partition("=")[2].split()
    if not search:
        raise UntouchedError("systemd does not say where its files are; nothing was changed")
    found: dict[str, str] = {}
    for name in _drop_in_names(unit):
        for folder in search:
            within = f"{folder}/{name}.d"
            if name == unit and folder in CONTROL_FOLDERS.values():
                continue
            for base in _names_in(site, within):
                found.setdefault(base, f"{within}/{base}")
    for folder in CONTROL_FOLDERS.values():
        within = f"{folder}/{unit}.d"
        for base in _names_in(site, within):
            if not re.fullmatch(r"50-Memory(High|Max|SwapMax)\.conf", base):
                found[base] = f"{within}/{base}"
    return found


def _drop_in_names(unit: str) -> list[str]:
    """The names whose drop-ins a unit takes: its own, its template's, those cut at dashes, and its kind's."""
    stem, _, kind = unit.rpartition(".")
    prefix, at, instance = stem.partition("@")
    names = [unit, *([f"{prefix}@.{kind}"] if at else [])]
    while "-" in prefix.rstrip("-"):
        prefix = prefix.rstrip("-").rpartition("-")[0] + "-"
        names += [f"{prefix}@{instance}.{kind}", f"{prefix}@.{kind}"] if at else [f"{prefix}.{kind}"]
    return [*names, kind]


def _names_in(site: Site, folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(site.path(folder)) if name.endswith(".conf")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UntouchedError(f"{folder} can not be read: {error.strerror}; nothing was changed") from None


def _text_of(site: Site, path: str) -> str:
    if not path:
        return ""
    try:
        with open(site.path(path), encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise UntouchedError(f"{path} can not be read: {error.strerror}; nothing was changed") from None


def _limit_of(text: str, setting: str, before: str) -> str:
    """The last value that a text gives a setting; what systemd can not understand it ignores."""
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == setting and PLAIN_LIMIT.fullmatch(value.strip()):
            before = value.strip() or "infinity"
    return before


def last_limit(site: Site, text: str, setting: str) -> str:
    """What one drop-in sets, in bytes."""
    return limit_bytes(site, _limit_of(text, setting, "infinity"))


def limit_bytes(site: Site, value: str) -> str:
    """A limit of a unit file in bytes, or infinity."""
    if value == "infinity":
        return value
    if value.endswith("%"):
        with open(site.path("/proc/meminfo"), encoding="ascii") as file:
            total = int(file.readline().split()[1]) * 1024
        return str(int(total * float(value[:-1]) / 100))
    whole = value.removesuffix("B")
    power = "KMGTPE".find(whole[-1:]) + 1
    return str(int(float(whole[:-1] if power else whole) * 1024**power))


def same_limit(one: str, other: str) -> bool:
    """Whether two limits are the same in pages, which is what the kernel counts."""
    page = os.sysconf("SC_PAGE_SIZE")
    if "infinity" in (one, other):
        return one == other
    return int(one) // page == int(other) // page
