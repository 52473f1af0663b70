"""Every channel that kills are posted to: it exists, is no archive, and the bot is in it."""

from collections.abc import Iterable, Mapping

from oombot.config import Settings
from oombot.doctor.gathered import ChannelFacts, Fault, Gathered
from oombot.doctor.shape import BotCheck, Line, ok, unknown, wrong

_SHOWN = 3


def used(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """Each channel of the configuration with the hosts whose kills go there."""
    found: dict[str, list[str]] = {settings.slack.channel.lstrip("#"): []}
    for host in settings.hosts:
        found.setdefault(settings.channel(host.name), []).append(host.name)
    return {channel: tuple(hosts) for channel, hosts in found.items()}


def _lines(gathered: Gathered) -> Iterable[Line]:
    slack = gathered.slack
    if slack is None or slack.auth is not None or slack.token_problems:
        return
    for channel, hosts in used(gathered.known).items():
        facts = slack.channels.get(channel)
        if facts is not None:
            yield _line(channel, facts, hosts, slack.bot_name or "oombot")


def _line(channel: str, facts: ChannelFacts | Fault, hosts: tuple[str, ...], bot: str) -> Line:
    item, why = f"channel {channel}", f"kills of {_some(hosts)} can not be posted"
    if isinstance(facts, Fault):
        return _fault(item, channel, facts, why, bot)
    if facts.archived:
        fix = f"unarchive #{facts.name} in Slack, or name another channel"
        return wrong(item, f"#{facts.name} is archived", why, fix)
    if not facts.member:
        return wrong(item, f"@{bot} is not in #{facts.name}", why, f"in #{facts.name}: /invite @{bot}")
    kind = "private, " if facts.private else ""
    return ok(item, f"@{bot} is in #{facts.name} ({kind}kills of {_some(hosts)})")


def _fault(item: str, channel: str, fault: Fault, why: str, bot: str) -> Line:
    name = f"channel {channel}" if channel[:1] in "CG" and channel.isupper() else f"#{channel}"
    if fault.code == "missing_scope":
        said = f"whether @{bot} is in {name} is not known: the token lacks the scope {fault.needed}"
        return unknown(item, said, why, fault.fix or "oombot slack manifest")
    if fault.code == "channel_not_found":
        return wrong(
            item,
            f"Slack shows no {name} to @{bot}: it does not exist, or it is private and @{bot} is not in it",
            why,
            f"if it is private, in {name}: /invite @{bot}; else correct the channel in the configuration",
        )
    return unknown(
        item, f"whether @{bot} is in {name} is not known: {fault.said}", why, fault.fix or "oombot doctor"
    )


def _some(hosts: tuple[str, ...]) -> str:
    if not hosts:
        return "no host yet"
    more = len(hosts) - _SHOWN
    return ", ".join(hosts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


CHECK = BotCheck(name="channels", rank=54, lines=_lines)
