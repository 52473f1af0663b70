"""All that one person sees, as one JSON value for the page."""

from typing import Any

from oombot.workspace.chat import without_metadata
from oombot.workspace.directory import Channel
from oombot.workspace.errors import NotOnScreenError
from oombot.workspace.seed import PEOPLE
from oombot.workspace.state import State


def snapshot(state: State, user_id: str, since: float) -> dict[str, Any]:
    """Return names, channels, messages, the open modal and home tab of a person; ephemerals not older than `since`."""
    directory = state.directory
    if user_id not in PEOPLE:
        raise NotOnScreenError(f"{user_id} is not one of the people of this page")
    channels = [channel for channel in directory.channels.values() if directory.sees(user_id, channel)]
    stack = state.views.get(user_id)
    return {
        "now": state.clock(),
        "version": state.version,
        "team": directory.team.name,
        "bot": {"id": directory.bot.id, "name": directory.bot.name},
        "me": user_id,
        "people": list(PEOPLE),
        "users": {
            user.id: {"name": user.name, "real_name": user.real_name, "is_bot": user.is_bot}
            for user in directory.users.values()
        },
        "groups": {g.id: {"handle": g.handle, "mine": user_id in g.users} for g in directory.groups.values()},
        "channels": [_channel(state, channel, user_id, since) for channel in channels],
        "view": stack[-1] if stack else None,
        "home": state.homes.get(user_id),
    }


def _channel(state: State, channel: Channel, user_id: str, since: float) -> dict[str, Any]:
    directory = state.directory
    messages = [without_metadata(message) for message in state.timeline.messages(channel.id)]
    shown = [
        e.message
        for e in state.timeline.ephemerals(user_id)
        if e.channel_id == channel.id and float(e.ts) >= since
    ]
    name = directory.bot.name if channel.is_im else channel.name
    flags = {"is_im": channel.is_im, "is_private": channel.is_private, "is_archived": channel.is_archived}
    people = {"has_bot": directory.bot.id in channel.members, "members": len(channel.members)}
    ordered = sorted([*messages, *shown], key=lambda message: float(message["ts"]))
    return {"id": channel.id, "name": name, "topic": channel.topic, "messages": ordered, **flags, **people}
