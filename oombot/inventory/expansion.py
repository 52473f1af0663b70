"""Hosts of the configuration whose names are ranges, written out: one entry each, every one with its place."""

from collections.abc import Iterator, Mapping
from typing import Any

from oombot.inventory.marked import Path, place
from oombot.inventory.ranges import RangeError, expand, has_range


def expanded(hosts: list[Any], places: Mapping[Path, str]) -> tuple[list[Any], list[int], list[str]]:
    """The entries with ranges written out, the index that each had in the file, and what is wrong with ranges."""
    made: list[Any] = []
    origins: list[int] = []
    problems: list[str] = []
    for index, entry in enumerate(hosts):
        try:
            written = list(_entries(entry))
        except RangeError as error:
            problems.append(f"{place(places, ('hosts', index, 'name'), '')}: hosts.{index}: {error}")
            written = [{**entry, "name": f"wrong-{index}", "address": None, "aliases": []}]
        made += written
        origins += [index] * len(written)
    return made, origins, problems


def _entries(entry: Any) -> Iterator[Any]:
    """One entry for every name; an address and aliases that are ranges go along, one for one."""
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not has_range(name):
        yield entry
        return
    names = expand(name)
    address = _along(entry.get("address"), names, name)
    aliases = entry.get("aliases")
    listed = aliases if isinstance(aliases, list) else []
    others = [_along(alias, names, name) for alias in listed]
    for index, one in enumerate(names):
        changed: dict[str, Any] = {"name": one}
        if address is not None:
            changed["address"] = address[index]
        if isinstance(aliases, list):
            changed["aliases"] = [other[index] if other else listed[at] for at, other in enumerate(others)]
        yield {**entry, **changed}


def _along(text: Any, names: tuple[str, ...], name: str) -> tuple[str, ...] | None:
    """The values of a second range, one for each name; None where the text is no range."""
    if not isinstance(text, str) or not has_range(text):
        return None
    found = expand(text)
    if len(found) != len(names):
        raise RangeError(f"{text[:80]} stands for {len(found)}, but {name[:80]} for {len(names)} hosts")
    return found
