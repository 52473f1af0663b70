"""The inventory: groups that no host is in, and how many hosts doctor asked."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered
from oombot.doctor.shape import BotCheck, Line, ok, warning

_SHOWN = 5


def _lines(gathered: Gathered) -> Iterable[Line]:
    settings = gathered.known
    count, asked = len(settings.hosts), len(gathered.asked_hosts)
    yield ok("hosts", f"{asked} of {count} host{'' if count == 1 else 's'} asked")
    silent = sorted(name for name, group in settings.groups.items() if group.channel is None)
    if silent and len(silent) < len(settings.groups):
        yield ok(
            "default_channel",
            f"{_some(silent)}: no channel of their own, so #{_default(gathered)} or the group above",
        )
    used = {host.group for host in settings.hosts} | _parents(gathered)
    unused = sorted(set(settings.groups) - used)
    if unused:
        yield warning(
            "unused_groups",
            f"no host is in {_some(unused)}",
            "its channel, runbook and settings are used by nobody; a host may stand in the wrong group",
            "oombot hosts list; then correct groups: or the hosts' group:",
        )


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _default(gathered: Gathered) -> str:
    return gathered.known.slack.channel.lstrip("#")


def _parents(gathered: Gathered) -> set[str]:
    """Groups that only hold other groups are in use as well."""
    groups = gathered.known.groups
    return {name for name, group in groups.items() if group.groups}


CHECK = BotCheck(name="inventory", rank=70, lines=_lines)
