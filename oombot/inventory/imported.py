"""What other inventories say, as entries of our own configuration; every entry keeps its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oombot.inventory.ranges import RangeError, expand, has_range

SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh")
LOCAL = ("local", "ansible.builtin.local")
IMPLIED = ("all", "ungrouped")  # groups that every Ansible inventory has


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLine:
    """A host, or a range of them, as a line of an inventory names it in one of its groups."""

    text: str
    group: str
    place: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLine:
    """A group, the groups in it and the values for its hosts, as one section names them."""

    name: str
    place: str
    children: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Hosts and groups as the configuration would write them, with their places; mistakes; what was left out."""

    hosts: tuple[tuple[Mapping[str, Any], str], ...] = ()
    groups: Mapping[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def assembled(
    hosts: Sequence[HostLine],
    groups: Sequence[GroupLine],
    *,
    problems: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Imported:
    """Put the lines of an Ansible inventory together: ranges written out, values of groups handed down."""
    wrong, said = [*problems], [*notes]
    children: dict[str, dict[str, None]] = {}
    places: dict[str, str] = {}
    inherited: dict[str, dict[str, Any]] = {}
    for group in groups:
        children.setdefault(group.name, {}).update(dict.fromkeys(group.children))
        places.setdefault(group.name, group.place)
        inherited.setdefault(group.name, {}).update(group.values)
    found: dict[str, tuple[dict[str, Any], list[str], str]] = {}
    for line in hosts:
        try:
            names = expand(line.text)
        except RangeError as error:
            wrong.append(f"{line.place}: {error}")
            continue
        for name in names:
            values, within, _ = found.setdefault(name, ({}, [], line.place))
            values.update(line.values)
            if line.group not in (*within, *IMPLIED):
                within.append(line.group)
    depths, parents = _depths(children), _parents(children)
    made = []
    for name, (values, within, place) in found.items():
        merged = {**_handed_down(within, parents, depths, inherited), **values}
        entry = _entry(name, merged, within, place, said)
        if entry is not None:
            made.append((entry, place))
    kept = {name: (tuple(inner), places[name]) for name, inner in children.items() if name not in IMPLIED}
    return Imported(hosts=tuple(made), groups=kept, problems=tuple(wrong), notes=tuple(dict.fromkeys(said)))


def _parents(children: Mapping[str, Mapping[str, None]]) -> dict[str, list[str]]:
    parents: dict[str, list[str]] = {}
    for group, inner in children.items():
        for child in inner:
            parents.setdefault(child, []).append(group)
    return parents


def _depths(children: Mapping[str, Mapping[str, None]]) -> dict[str, int]:
    """How far below the top each group stands, by its longest way; a circle, refused later, ends this too."""
    depths: dict[str, int] = {}
    for _ in children:
        before = dict(depths)
        for group, inner in children.items():
            for child in inner:
                depths[child] = max(depths.get(child, 0), depths.get(group, 0) + 1)
        if depths == before:
            break
    return depths


def _handed_down(
    within: Sequence[str],
    parents: Mapping[str, Sequence[str]],
    depths: Mapping[str, int],
    values: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The values of a host's groups: those of `all` first, then from top to bottom, so that the nearest wins."""
    waiting, groups = list(within), dict.fromkeys(within)
    while waiting:
        above = [group for group in parents.get(waiting.pop(), ()) if group not in groups]
        groups.update(dict.fromkeys(above))
        waiting += above
    merged = dict(values.get("all", {}))
    for group in sorted(groups, key=lambda group: (depths.get(group, 0), group)):
        merged.update(values.get(group, {}) if group != "all" else {})
    return merged


def _entry(
    name: str, values: Mapping[str, Any], within: Sequence[str], place: str, notes: list[str]
) -> dict[str, Any] | None:
    """A host as our configuration writes it; None for one that is not reached by SSH."""
    entry: dict[str, Any] = {"name": name}
    connection = values.get("ansible_connection", "ssh")
    if connection in LOCAL:
        entry["local"] = True
    elif connection not in SSH:
        notes.append(f"{place}: {name} is left out: its connection is {str(connection)[:40]!r}, not ssh")
        return None
    for key, old, field_ in (
        ("ansible_host", "ansible_ssh_host", "address"),
        ("ansible_user", "ansible_ssh_user", "user"),
        ("ansible_port", "ansible_ssh_port", "port"),
    ):
        value = values.get(key, values.get(old))
        if value is not None and not (field_ == "address" and value == name):
            entry[field_] = _number(value) if field_ == "port" else value
    if within:
        entry["group"], *rest = within
        if rest:
            entry["groups"] = rest
    return entry


def _number(value: Any) -> Any:
    """A port that is written as a text; anything else is refused later, with its place."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else value


def ansible_range(text: str) -> str:
    """Ansible's `web[01:50:2]` as we write it, `web[01-50/2]`; what is no such range is left as it is."""
    if not has_range(text):
        return text
    made, rest = "", text
    while rest:
        literal, bracket, rest = rest.partition("[")
        inside, closed, rest = rest.partition("]")
        first, *more = inside.split(":")
        if 1 <= len(more) <= 2:
            inside = f"{first}-{more[0]}" + (f"/{more[1]}" if len(more) == 2 else "")
        made += literal + bracket + inside + closed
    return made
