"""An Ansible inventory in YAML form; nothing in it is executed or evaluated."""

from collections.abc import Iterator, Mapping
from typing import Any

from oombot.inventory.imported import GroupLine, HostLine, Imported, ansible_range, assembled
from oombot.inventory.marked import Path, dotted, place, read

_PARTS = ("hosts", "children", "vars")


def parse(text: str, filename: str) -> Imported:
    """Read the text; every mistake as `file:line: what`. Values with a tag (`!vault`) are not looked at."""
    marked = read(text, filename, tags=True)
    if marked.problems:
        return Imported(problems=marked.problems)
    walk = _Walk(marked.places, filename)
    if isinstance(marked.data, Mapping):
        for name, body in marked.data.items():
            walk.group(str(name), body, (str(name),))
    else:
        walk.problems.append(f"{filename}:1: the file must hold groups (all: with hosts: and children:)")
    return assembled(walk.hosts, walk.groups, problems=walk.problems)


class _Walk:
    """Goes down the groups and notes what it meets."""

    def __init__(self, places: Mapping[Path, str], filename: str) -> None:
        self._places, self._default = places, f"{filename}:1"
        self.hosts: list[HostLine] = []
        self.groups: list[GroupLine] = []
        self.problems: list[str] = []

    def group(self, name: str, body: Any, path: Path) -> None:
        """One group with everything below it."""
        parts = self._mapping(body, path)
        for key in parts:
            if key not in _PARTS:
                self._wrong((*path, str(key)), "a group holds hosts:, children: and vars:, nothing else")
        inner = self._mapping(parts.get("children"), (*path, "children"))
        values = self._mapping(parts.get("vars"), (*path, "vars"))
        children = tuple(str(child) for child in inner)
        self.groups.append(GroupLine(name=name, place=self._at(path), children=children, values=values))
        self.hosts += self._hosts(name, parts.get("hosts"), (*path, "hosts"))
        for child, below in inner.items():
            self.group(str(child), below, (*path, "children", str(child)))

    def _hosts(self, group: str, body: Any, path: Path) -> Iterator[HostLine]:
        for name, values in self._mapping(body, path).items():
            at = (*path, str(name))
            held = self._mapping(values, at)
            yield HostLine(text=ansible_range(str(name)), group=group, place=self._at(at), values=held)

    def _mapping(self, value: Any, path: Path) -> Mapping[Any, Any]:
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return value
        self._wrong(path, "keys and values must stand here (a name ends with a colon, without a dash)")
        return {}

    def _at(self, path: Path) -> str:
        return place(self._places, path, self._default)

    def _wrong(self, path: Path, text: str) -> None:
        self.problems.append(f"{self._at(path)}: {dotted(path)}: {text}")
