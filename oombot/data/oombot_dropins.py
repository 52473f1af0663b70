"""What systemd's unit files say of memory limits: the files of set-property, and what would hold after a daemon-reload.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import os
import re
from typing import Any

from oombot.data.oombot_files import SECTIONS, UnitFiles, Written, assignments, size_of
from oombot.data.oombot_site import Site, UntouchedError

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


def limit_text(unit: str, setting: str, value: str) -> str:
    """What set-property writes, without its remarks."""
    return f"{SECTIONS[unit.rpartition('.')[2]]}\n{setting}={value}\n"


def limit_in_files(site: Site, found: dict[str, str], setting: str, texts: dict[str, str | None]) -> str:
    """The limit that systemd would hold after reading a unit's files again, with `texts` in the place of those of
    set-property, by kind and setting. `found` has its Id and FragmentPath; files that were never read count too."""
    unit = found["Id"]
    files = UnitFiles(site, {limit_path(unit, key): text for key, text in texts.items()})
    written = files.limits(unit, [], found.get("FragmentPath", "")).get(setting, Written(None))
    if written.unknown:
        raise UntouchedError(
            f"a file of {unit} gives {setting} no size: {written.unknown}; nothing was changed"
        )
    return "infinity" if written.size_b is None else str(written.size_b)


def last_limit(site: Site, unit: str, setting: str, text: str) -> str:
    """What one drop-in sets, in bytes; "" where it sets nothing."""
    found = [value for key, value in assignments(text, SECTIONS[unit.rpartition(".")[2]]) if key == setting]
    written = size_of(site, found[-1]) if found else Written(None, "nothing")
    return "" if written.unknown else "infinity" if written.size_b is None else str(written.size_b)


def same_limit(one: str, other: str) -> bool:
    """Whether two limits are the same in pages, which is what the kernel counts."""
    page = os.sysconf("SC_PAGE_SIZE")
    if "infinity" in (one, other):
        return one == other
    return int(one) // page == int(other) // page
