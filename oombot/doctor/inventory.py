"""The inventory: groups that no host is in, and how many hosts doctor asked."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered
from oombot.doctor.shape import BotCheck, Line, ok, warning

_SHOWN = 5


def _lines(gathered: Gathered) -> Iterable[Line]:
    settings = gathered.known
    count, asked = len(settings.hosts), len(gathered.asked_hosts)
    yield ok("hosts", f"{asked} of {count} host{'' if count == 1 else 's'} asked")
    used = {host.group for host in settings.hosts} | _parents(gathered)
    unused = sorted(set(settings.groups) - used)
    if unused:
        more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
        yield warning(
            "unused_groups",
            f"no host is in {', '.join(unused[:_SHOWN])}{more}",
            "its channel, runbook and settings are used by nobody; a host may stand in the wrong group",
            "oombot hosts list; then correct groups: or the hosts' group:",
        )


def _parents(gathered: Gathered) -> set[str]:
    """Groups that only hold other groups are in use as well."""
    groups = gathered.known.groups
    return {name for name, group in groups.items() if getattr(group, "groups", ())}


CHECK = BotCheck(name="inventory", rank=70, lines=_lines)
