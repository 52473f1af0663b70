"""An Ansible inventory in INI form; nothing in it is executed or evaluated."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

from oombot.inventory.imported import GroupLine, HostLine, Imported, ansible_range, assembled

_SECTION = re.compile(r"\[(?P<name>[^:\]]+)(?::(?P<kind>[a-z]+))?\]\s*(?:[#;].*)?")
_V6 = re.compile(r"\[(?P<host>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\](?::(?P<port>[0-9]+))?")
_PORT = re.compile(r"(?P<host>(?:[^\[\]:]|\[[^\]]*\])+):(?P<port>[0-9]+)")
KINDS = (None, "children", "vars")


def parse(text: str, filename: str) -> Imported:
    """Read the text; every mistake as `file:line: what`."""
    hosts: list[HostLine] = []
    groups: list[GroupLine] = []
    problems: list[str] = []
    group, kind = "ungrouped", None
    for number, line in enumerate(text.splitlines(), 1):
        place, stripped = f"{filename}:{number}", line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        section = _SECTION.fullmatch(stripped)
        if section is not None and section["kind"] in KINDS:
            group, kind = section["name"].strip(), section["kind"]
            groups.append(GroupLine(name=group, place=place))
        elif section is not None:
            problems.append(f"{place}: [{group}:{section['kind'][:20]}] is no section that Ansible knows")
        elif kind == "vars":
            key, _, value = stripped.partition("=")
            groups.append(GroupLine(name=group, place=place, values={key.strip(): _unquoted(value)}))
        elif kind == "children":
            child = re.split(r"\s+[#;]", stripped)[0].strip()
            groups.append(GroupLine(name=group, place=place, children=(child,)))
        else:
            hosts += _host(stripped, group, place, problems)
    return assembled(hosts, groups, problems=problems)


def _host(line: str, group: str, place: str, problems: list[str]) -> Iterator[HostLine]:
    try:
        name, *words = shlex.split(line, comments=True)
    except ValueError as error:
        problems.append(f"{place}: {error}: a quote is not closed")
        return
    values: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            problems.append(f"{place}: {word[:60]!r} is no key=value")
        values[key] = value
    found = _V6.fullmatch(name)
    if (
        found is None
        and name.count(":") - sum(part.count(":") for part in re.findall(r"\[[^\]]*\]", name)) == 1
    ):
        found = _PORT.fullmatch(name)
    if found is not None:
        name = found["host"]
        if found["port"]:
            values.setdefault("ansible_port", found["port"])
    yield HostLine(text=ansible_range(name), group=group, place=place, values=values)


def _unquoted(value: str) -> str:
    """A value without its quotes or a comment behind it."""
    try:
        words = shlex.split(value, comments=True)
    except ValueError:
        return value.strip()
    return words[0] if len(words) == 1 else value.strip()
