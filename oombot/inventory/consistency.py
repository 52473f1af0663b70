"""Whether names and groups fit together; every contradiction with its path, and with both where two collide."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oombot.inventory import names
from oombot.inventory.marked import Path
from oombot.inventory.roster import Member, cycle

Problem = tuple[Path, str, Path | None]  # where, what is wrong, where the other one stands


class InconsistentError(ValueError):
    """Parts of the configuration contradict each other."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Take every contradiction."""
        super().__init__("; ".join(text for _, text, _ in problems))
        self.problems = problems


def naming(hosts: Sequence[Member]) -> Iterator[Problem]:
    """What is wrong with the names: each name and alias may stand once, and be no word of /oom."""
    seen: dict[str, int] = {}
    for index, host in enumerate(hosts):
        path: Path = ("hosts", index, "name")
        for name in dict.fromkeys((host.name, *host.aliases)):
            if name in seen:
                yield path, f"host named twice: {name}", ("hosts", seen[name], "name")
            if name in names.WORDS or name.startswith(names.PREFIXES):
                yield path, f"no host can be called {name}: /oom understands that already", None
            seen.setdefault(name, index)


def grouping(hosts: Sequence[Member], children: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """What is wrong with the groups: named and not there, or holding each other."""
    known = {*children, "default"}
    for index, host in enumerate(hosts):
        for group in host.groups:
            if group not in known:
                text = f"hosts name a group that is not under groups: {group}"
                yield ("hosts", index, "group"), text, None
    for holder, held in children.items():
        for child in held:
            if child not in known:
                text = f"{holder} holds a group that is not under groups: {child}"
                yield ("groups", holder, "groups"), text, None
    found = cycle(children)
    if found:
        circle = " → ".join(found)
        yield ("groups", found[0], "groups"), f"groups hold each other in a circle: {circle}", None


def as_written(raw: Mapping[str, Any]) -> list[Problem]:
    """The same contradictions in a configuration that has other mistakes too, as far as it can be read."""
    hosts, groups = raw.get("hosts"), raw.get("groups")
    members = [_member(host, index) for index, host in enumerate(hosts)] if isinstance(hosts, list) else []
    children = {
        str(name): _texts(group.get("groups"))
        for name, group in (groups.items() if isinstance(groups, Mapping) else ())
        if isinstance(group, Mapping)
    }
    return [*naming(members), *grouping([], children)]


def _member(host: Any, index: int) -> Member:
    entry = host if isinstance(host, Mapping) else {}
    return Member(name=str(entry.get("name", f"?{index}")), aliases=_texts(entry.get("aliases")))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(text) for text in value) if isinstance(value, list) else ()
