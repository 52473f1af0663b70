"""The bot token's scopes, one by one: what each is for and what stops without it."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered
from oombot.doctor.shape import BotCheck, Line, ok, unknown, warning, wrong
from oombot.policy import group_ids

NEEDED = {
    "chat:write": "no card can be posted: oombot is mute",
    "commands": "/oom does not reach oombot",
    "channels:read": "no channel can be found by its name",
    "groups:read": "no channel can be found by its name, since private ones are asked for with the public ones",
    "users:read": "guests and bots can not be told from members, so every press is refused",
}
"""Without one of these a main function stops."""

USEFUL = {
    "channels:history": "after a crash oombot can not find its own card again, and may post it twice",
    "groups:history": "after a crash oombot can not find its own card in a private channel, and may post it twice",
    "files:write": "the kernel's whole report can not be put into the thread",
}
"""Without one of these something is worse."""

BY_GROUP = "usergroups:read"
_FIX = (
    "add the scope at api.slack.com/apps{app} → OAuth & Permissions → Bot Token Scopes, then "
    "Reinstall to Workspace; `oombot slack manifest` lists all of them"
)


def _lines(gathered: Gathered) -> Iterable[Line]:
    slack = gathered.slack
    if slack is None or slack.auth is not None or slack.token_problems:
        return
    fix = _FIX.format(app=f"/{slack.app_id}" if slack.app_id else "")
    scopes = slack.scopes
    if scopes is None:
        why = "Slack's answer did not name the scopes of the token"
        yield unknown("scopes", "which scopes the bot token has is not known", why, fix)
        return
    groups = bool(group_ids(gathered.known.policy))
    needed = NEEDED | ({BY_GROUP: "nobody of policy.approvers.groups can approve"} if groups else {})
    for scope, stops in needed.items():
        if scope not in scopes:
            yield wrong(f"scope {scope}", f"the bot token lacks the scope {scope}", stops, fix)
    for scope, stops in USEFUL.items():
        if scope not in scopes:
            yield warning(f"scope {scope}", f"the bot token lacks the scope {scope}", stops, fix)
    wanted = {*needed, *USEFUL}
    if held := wanted & scopes:
        yield ok("scopes", f"{len(held)} of {len(wanted)} scopes: {', '.join(sorted(held))}")
    more = sorted(scopes - wanted - {BY_GROUP})
    if more:
        yield warning(
            "scopes_beyond",
            f"the bot token has scopes that oombot never uses: {', '.join(more)}",
            "a stolen token could do this as well",
            fix.replace("add the scope", "remove them"),
        )


CHECK = BotCheck(name="scopes", rank=52, lines=_lines)
