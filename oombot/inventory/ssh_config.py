"""Hosts of an ssh_config: its `Host` entries without wildcards. `Match`, `Include` and commands are never followed."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from oombot.inventory.imported import Imported

KEPT = ("hostname", "port", "user", "proxyjump")
_FIELDS = {"hostname": "address", "user": "user", "port": "port"}
_LONGEST_CHAIN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """One `Host` section: for whom, and its first value of each keyword."""

    patterns: tuple[str, ...]
    place: str
    values: Mapping[str, str]

    def holds(self, name: str) -> bool:
        """Whether the section is for this host: one pattern fits, and none that forbids."""
        if any(p.startswith("!") and fnmatchcase(name, _glob(p[1:])) for p in self.patterns):
            return False
        return any(not p.startswith("!") and fnmatchcase(name, _glob(p)) for p in self.patterns)


def parse(text: str, filename: str) -> Imported:
    """Read the text; as in ssh the first value counts, also one of a section with wildcards."""
    blocks, problems, notes = _blocks(text, filename)
    places: dict[str, str] = {}
    for block in blocks:
        for name in block.patterns:
            if not any(sign in name for sign in "*?!"):
                places.setdefault(name, block.place)
    hosts = []
    for name, place in places.items():
        values = _values(blocks, name)
        if "proxycommand" in values and "proxyjump" not in values:
            notes.append(f"{place}: {name}: ProxyCommand is not used: oombot runs no command to connect")
        hosts.append((_entry(blocks, name, values), place))
    return Imported(hosts=tuple(hosts), problems=tuple(problems), notes=tuple(notes))


def _blocks(text: str, filename: str) -> tuple[list[_Block], list[str], list[str]]:
    blocks: list[_Block] = []
    problems: list[str] = []
    notes: list[str] = []
    first: dict[str, str] = {}  # what stands before any section is for every host
    values: dict[str, str] | None = first
    blocks.append(_Block(patterns=("*",), place=f"{filename}:1", values=first))
    for number, line in enumerate(text.splitlines(), 1):
        place, stripped = f"{filename}:{number}", line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        keyword, words = _words(stripped)
        if not words:
            problems.append(f"{place}: {keyword[:40]!r} has no value, or a quote is not closed")
        elif keyword == "host":
            values = {}
            blocks.append(_Block(patterns=words, place=place, values=values))
        elif keyword in ("match", "include"):
            values = None if keyword == "match" else values
            notes.append(f"{place}: {keyword.title()} is not followed; what it sets is left out")
        elif values is not None and keyword in (*KEPT, "proxycommand"):
            values.setdefault(keyword, words[0] if keyword in KEPT else "yes")
    return blocks, problems, notes


def _words(line: str) -> tuple[str, tuple[str, ...]]:
    """The keyword and its arguments: `Port 22`, `Port=22` and `Port = 22` are the same."""
    head = (
        line.replace("=", " ", 1) if "=" in line.split(maxsplit=1)[0] or line.split()[1:2] == ["="] else line
    )
    try:
        keyword, *words = shlex.split(head, comments=True)
    except ValueError:
        return line.split(maxsplit=1)[0].lower(), ()
    return keyword.lower(), tuple(words)


def _values(blocks: Sequence[_Block], name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for block in blocks:
        if block.holds(name):
            found = {**block.values, **found}
    return found


def _entry(blocks: Sequence[_Block], name: str, values: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name}
    for keyword, key in _FIELDS.items():
        if keyword in values:
            entry[key] = values[keyword]
    if "address" in entry:
        entry["address"] = _address(entry["address"], name)
    port = str(entry.get("port", ""))
    if port.isascii() and port.isdigit() and len(port) < 10:
        entry["port"] = int(port)
    chain = _chain(blocks, values, ())
    if chain:
        entry["jump"] = ",".join(chain)
    return entry


def _chain(blocks: Sequence[_Block], values: Mapping[str, str], seen: tuple[str, ...]) -> list[str]:
    """The jump hosts by address, first hop first; a hop that is an entry here brings its own hops along."""
    jump = values.get("proxyjump", "none")
    if jump.lower() == "none" or len(seen) >= _LONGEST_CHAIN:
        return []
    made: list[str] = []
    for index, hop in enumerate(jump.split(",")):
        user, _, place = hop.rpartition("@")
        name, colon, port = place.partition(":") if place.count(":") == 1 else (place, "", "")
        own = _values(blocks, name) if name not in seen else {}
        if index == 0:
            made += _chain(blocks, own, (*seen, name))
        address = _address(own.get("hostname", name), name)
        port = port if colon else own.get("port", "")
        if port and not address.startswith("["):
            address = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        user = user or own.get("user", "")
        made.append(f"{user}@{address}" if user else address)
    return made


def _address(text: str, name: str) -> str:
    return text.replace("%%", "%").replace("%h", name)


def _glob(pattern: str) -> str:
    """ssh knows * and ? only; a bracket is itself."""
    return pattern.replace("[", "[[]")
