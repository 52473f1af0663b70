"""What people may call hosts: names, aliases, globs, ranges, groups with their children, tags, the whole fleet."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from oombot.errors import UnknownHostError
from oombot.inventory.ranges import LIMIT, RangeError, count, expand, has_range, split

LONGEST = 1000  # signs of a pattern
_LISTED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One host as far as choosing it goes; `groups` are those it is in itself, the deciding one first."""

    name: str
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The hosts that a pattern means, in the configuration's order, and names of its ranges that are no host."""

    pattern: str
    names: tuple[str, ...]
    missing: tuple[str, ...] = ()
    plain: bool = False  # the pattern is one host's own name or alias


class Roster:
    """An index of hosts and groups, made once."""

    def __init__(self, members: Sequence[Member], children: Mapping[str, Sequence[str]]) -> None:
        """Take the hosts and each group's child groups; there must be no cycle."""
        self._names = {member.name: member.name for member in members}
        for member in members:
            for alias in member.aliases:
                self._names.setdefault(alias, member.name)
        self._order = {member.name: index for index, member in enumerate(members)}
        self._children = children
        self._parents: dict[str, list[str]] = {}
        for group, inner in children.items():
            for child in inner:
                self._parents.setdefault(child, []).append(group)
        self._in_group: dict[str, list[str]] = {group: [] for group in children}
        self._tagged: dict[str, list[str]] = {}
        for member in members:
            for group in member.groups:
                self._in_group.setdefault(group, []).append(member.name)
            for tag in member.tags:
                self._tagged.setdefault(tag, []).append(member.name)

    def name(self, called: str) -> str:
        """The host's own name; UnknownHostError guesses what was meant, and never picks it."""
        found = self._names.get(called)
        if found is None:
            raise self._unknown(
                called, f"No host named {called!r} is configured.", list(self._names), "hosts"
            )
        return found

    def lineage(self, groups: Sequence[str]) -> tuple[str, ...]:
        """These groups, each with those that hold it, nearest first: where a host's defaults come from."""
        found: dict[str, None] = {}
        for group in groups:
            level = [group]
            while level:
                found.update(dict.fromkeys(level))
                level = [up for inner in level for up in self._parents.get(inner, ()) if up not in found]
        return tuple(found)

    def select(self, pattern: str) -> Selection:
        """What a pattern means; every part between commas must mean at least one host."""
        if len(pattern) > LONGEST:
            raise UnknownHostError(f"The pattern has {len(pattern)} signs; {LONGEST} are the most.")
        chosen: set[str] = set()
        missing: list[str] = []
        parts = split(pattern)
        self._bound(parts)
        for part in parts:
            names, absent = self._part(part)
            chosen.update(names)
            missing += absent
        names = tuple(sorted(chosen, key=self._order.__getitem__))
        plain = len(parts) == 1 and parts[0] in self._names
        return Selection(pattern=pattern, names=names, missing=tuple(dict.fromkeys(missing)), plain=plain)

    @staticmethod
    def _bound(parts: Sequence[str]) -> None:
        """Refuse what would stand for too many names before any is made."""
        try:
            many = sum(count(part) * (50 if "*" in part or "?" in part else 1) for part in parts)
        except RangeError as error:
            raise UnknownHostError(f"{error}. Nothing was asked.", fix="for example web[01-40]") from error
        if many > LIMIT:
            raise UnknownHostError(
                f"The pattern stands for more names than are taken at once ({LIMIT}). Nothing was asked.",
                fix="shorter ranges, a glob such as web*, or group:NAME",
            )

    def _part(self, part: str) -> tuple[Sequence[str], Sequence[str]]:
        kind, colon, rest = part.partition(":")
        if part == "fleet":
            return tuple(self._order), ()
        if colon and kind == "group":
            return self._group(rest), ()
        if colon and kind == "tag":
            return self._tag(rest), ()
        if not has_range(part) and "*" not in part and "?" not in part:
            return (self.name(part),), ()
        return self._matching(part)

    def _group(self, group: str) -> Sequence[str]:
        if group not in self._in_group:
            message = f"No group named {group!r} is configured."
            raise self._unknown(group, message, [*self._in_group], "groups", prefix="group:")
        names = [name for inner in self._below(group) for name in self._in_group.get(inner, ())]
        if not names:
            raise UnknownHostError(f"The group {group!r} holds no host.", fix="name it as a host's group:")
        return names

    def _below(self, group: str) -> Iterator[str]:
        seen: set[str] = set()
        waiting = [group]
        while waiting:
            inner = waiting.pop()
            if inner not in seen:
                seen.add(inner)
                yield inner
                waiting += self._children.get(inner, ())

    def _tag(self, tag: str) -> Sequence[str]:
        found = self._tagged.get(tag)
        if not found:
            raise self._unknown(tag, f"No host has the tag {tag!r}.", [*self._tagged], "tags", prefix="tag:")
        return found

    def _matching(self, part: str) -> tuple[Sequence[str], Sequence[str]]:
        """Ranges are made into names first; a name of a range that is no host is told, not dropped in silence."""
        patterns = expand(part)
        found: list[str] = []
        missing: list[str] = []
        for pattern in patterns:
            if "*" in pattern or "?" in pattern:
                found += [own for called, own in self._names.items() if fnmatchcase(called, pattern)]
            elif pattern in self._names:
                found.append(self._names[pattern])
            else:
                missing.append(pattern)
        if not found:
            literal = part.partition("[")[0].partition("*")[0]
            raise self._unknown(literal, f"No host matches {part!r}.", list(self._names), "hosts")
        return found, missing

    def _unknown(
        self, asked: str, message: str, known: Sequence[str], what: str, *, prefix: str = ""
    ) -> UnknownHostError:
        close = difflib.get_close_matches(asked[:253], known, n=1, cutoff=0.5)
        names = ", ".join(prefix + name for name in known[:_LISTED]) or "none"
        more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        hint = f"Did you mean {prefix}{close[0]}?" if close else f"Known {what}: {names}{more}"
        fix = f"add it under {what}:" if what != "tags" else ""
        if prefix and not asked:
            fix = f"put a name behind {prefix}"
        return UnknownHostError(f"{message} {hint}", fix=fix)


def cycle(children: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The first cycle of groups that hold each other, `a b a`; empty when there is none."""
    done: set[str] = set()
    for start in children:
        path: list[str] = []
        steps = [(start, iter(children.get(start, ())))]
        while steps and start not in done:
            group, inner = steps[-1]
            if len(path) < len(steps):
                path.append(group)
            child = next(inner, None)
            if child is None:
                done.add(group)
                steps.pop()
                path.pop()
            elif child in path:
                return (*path[path.index(child) :], child)
            elif child not in done:
                steps.append((child, iter(children.get(child, ()))))
    return ()
