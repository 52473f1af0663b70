"""Reads the inventories that the configuration names and adds what they hold to it, before it is validated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oombot.inventory import ansible_ini, ansible_yaml, ssh_config
from oombot.inventory.imported import Imported
from oombot.inventory.marked import Path, place

Read = Callable[[str], str]  # a file's text; OSError or UnicodeDecodeError where it can not be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """The configuration with the imported entries; `places` of imported hosts, in order, and of groups."""

    raw: Mapping[str, Any]
    hosts: tuple[str, ...] = ()
    groups: Mapping[Path, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def extended(raw: Mapping[str, Any], places: Mapping[Path, str], read: Read | None) -> Extended:
    """Add the hosts and groups of every inventory under `inventory:`; the configuration's own groups go first."""
    named = raw.get("inventory")
    if not isinstance(named, Mapping):
        return Extended(raw=raw)
    if not isinstance(raw.get("hosts", []), list) or not isinstance(raw.get("groups", {}), Mapping):
        return Extended(raw=raw)
    hosts: list[Any] = list(raw.get("hosts", []))
    origins: list[str] = []
    problems: list[str] = []
    notes: list[str] = []
    groups: dict[str, Any] = dict(raw.get("groups", {}))
    where: dict[Path, str] = {}
    for kind in ("ansible", "ssh_config"):
        files = named.get(kind)
        for index, file in enumerate(files if isinstance(files, list) else ()):
            at = place(places, ("inventory", kind, index), "")
            found = _import(str(file), kind, at, read)
            problems += found.problems
            notes += [*found.notes, _summary(str(file), found)]
            hosts += [entry for entry, _ in found.hosts]
            origins += [origin for _, origin in found.hosts]
            for name, (children, origin) in found.groups.items():
                where.setdefault(("groups", name), origin)
                groups[name] = _with(groups.get(name), children)
    return Extended(
        raw={**raw, "hosts": hosts, "groups": groups},
        hosts=tuple(origins),
        groups=where,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _import(file: str, kind: str, at: str, read: Read | None) -> Imported:
    if read is None:
        return Imported(problems=(f"{at}: {file} can not be read here",))
    try:
        text = read(file)
    except (OSError, UnicodeDecodeError) as error:
        return Imported(problems=(f"{at}: {file} can not be read: {error}",))
    if kind == "ssh_config":
        return ssh_config.parse(text, file)
    if text.startswith("#!"):
        fix = "save what it says: ansible-inventory -i THE_SCRIPT --list --yaml --output hosts.yaml"
        return Imported(problems=(f"{at}: {file} is a script, and nothing is executed; {fix}",))
    first = next((line for line in text.splitlines() if line.strip() and line.strip()[0] not in "#;"), "")
    yaml = file.endswith((".yaml", ".yml", ".json")) or first.startswith(("---", "all:", "{"))
    return ansible_yaml.parse(text, file) if yaml else ansible_ini.parse(text, file)


def _with(group: Any, children: tuple[str, ...]) -> Any:
    """The configuration's group with the children that an inventory adds; what is no group is refused later."""
    if group is None:
        group = {}
    if not isinstance(group, Mapping):
        return group
    own = group.get("groups", [])
    return {**group, "groups": list(dict.fromkeys([*own, *children]))} if isinstance(own, list) else group


def _summary(file: str, found: Imported) -> str:
    groups = f" in {len(found.groups)} group(s)" if found.groups else ""
    return f"{file}: {len(found.hosts)} host(s){groups} imported"
