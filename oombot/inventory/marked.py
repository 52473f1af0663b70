"""YAML text with the place, `file:line`, of everything in it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]

_MOST = 500_000
_DEEPEST = 100  # libyaml's loader nests on the C stack, which ends in a crash
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, eight times as fast


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What the text holds, where each part of it stands, and what is wrong with it as YAML."""

    data: Any
    places: Mapping[Path, str]
    problems: tuple[str, ...] = ()


class _Tagged(_LOADER):  # type: ignore[misc, valid-type]
    """Takes tags that it does not know, and keeps nothing of what they stand at."""


_Tagged.add_multi_constructor("!", lambda *_: None)


def read(text: str, filename: str, *, tags: bool = False) -> Marked:
    """Read one document; mistakes come as `file:line: what`, also of one whose anchors stand for far too much.

    `tags`: unknown tags (`!vault`) are no mistake; their values are None.
    """
    lines: dict[Path, int] = {}
    try:
        _check_depth(text)
        loader = (_Tagged if tags else _LOADER)(text)
        tree = loader.get_single_node()
        doubled = list(_mark(tree, (), lines)) if tree is not None else []
        data = loader.construct_document(tree) if tree is not None else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Marked(data=None, places={}, problems=(_syntax(filename, error),))
    problems = [f"{filename}:{line}: {dotted(path)}: this key stands here twice" for path, line in doubled]
    places = {path: f"{filename}:{line}" for path, line in lines.items()}
    return Marked(data=data, places=places, problems=tuple(problems))


def place(places: Mapping[Path, str], path: Path, default: str) -> str:
    """Where a path stands, or the nearest part above it that does."""
    while path and path not in places:
        path = path[:-1]
    return places.get(path, default)


def dotted(path: Path) -> str:
    """A path as people write it."""
    return ".".join(str(part) for part in path)


def _syntax(filename: str, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    return f"{filename}:{line}: not YAML: {getattr(error, 'problem', None) or error}"


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _mark(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Iterator[tuple[Path, int]]:
    """Note the line of every path; yield keys that stand twice (the safe loader would take the last)."""
    lines.setdefault(path, node.start_mark.line + 1)
    if len(lines) > _MOST:
        raise ValueError(f"it holds more than {_MOST} values, or anchors that stand for as many")
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in seen:
                yield inner, key.start_mark.line + 1
            seen.add(inner)
            lines[inner] = key.start_mark.line + 1
            yield from _mark(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _mark(value, (*path, index), lines)
