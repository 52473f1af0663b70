"""The conversations.* methods: channels, their history and threads."""

from typing import Any, Final

from oombot.workspace.calls import Call, Method
from oombot.workspace.chat import without_metadata
from oombot.workspace.directory import Channel
from oombot.workspace.errors import SlackError

_FAMILIES: Final = {
    "public_channel": "channels:read",
    "private_channel": "groups:read",
    "im": "im:read",
    "mpim": "mpim:read",
}


def info(call: Call) -> dict[str, Any]:
    """conversations.info."""
    return {"channel": call.channel_to_read("read").as_json(call.state.directory.bot.id)}


def list_conversations(call: Call) -> dict[str, Any]:
    """conversations.list: what the bot may see, of the kinds asked for."""
    kinds = (call.args.text("types") or "public_channel").replace(" ", "").split(",")
    for kind in kinds:
        if kind not in _FAMILIES:
            raise SlackError("invalid_types")
        call.need(_FAMILIES[kind])
    bot_id = call.state.directory.bot.id
    hide_archived = call.args.flag("exclude_archived")
    shown = [
        channel.as_json(bot_id)
        for channel in call.state.directory.channels.values()
        if _kind(channel) in kinds
        and (not channel.is_private or bot_id in channel.members)
        and not (hide_archived and channel.is_archived)
    ]
    return _page(call, "channels", shown)


def history(call: Call) -> dict[str, Any]:
    """conversations.history: newest first, thread replies left out."""
    channel = call.channel_to_read("history")
    found = [m for m in call.state.timeline.messages(channel.id) if _is_top_level(m) and _in_range(call, m)]
    limit = call.args.number("limit", 100, low=1, high=999)
    page = found[::-1][:limit]
    more = {"has_more": len(found) > limit, "pin_count": 0}
    return {"messages": [_shown(call, m) for m in page], **more}


def replies(call: Call) -> dict[str, Any]:
    """conversations.replies: the parent, then its replies, oldest first."""
    channel = call.channel_to_read("history")
    message = call.state.timeline.find(channel.id, call.args.required("ts"))
    if message is None:
        raise SlackError("thread_not_found")
    if message.get("thread_ts", message["ts"]) != message["ts"]:
        return {"messages": [_shown(call, message)], "has_more": False}
    limit = call.args.number("limit", 1000, low=1, high=1000)
    found = [m for m in call.state.timeline.replies(channel.id, message["ts"]) if _in_range(call, m)]
    return {"messages": [_shown(call, m) for m in [message, *found][:limit]], "has_more": len(found) >= limit}


def open_conversation(call: Call) -> dict[str, Any]:
    """conversations.open: the direct message with one user."""
    users = [user for user in call.args.text("users").split(",") if user]
    if len(users) != 1:
        raise SlackError("users_list_not_supplied" if not users else "method_not_supported_for_channel_type")
    if call.state.directory.user(users[0]).deleted:
        raise SlackError("user_disabled")
    channel = call.state.directory.direct_message(users[0])
    return {"channel": {"id": channel.id}}


def _kind(channel: Channel) -> str:
    return "im" if channel.is_im else "private_channel" if channel.is_private else "public_channel"


def _is_top_level(message: dict[str, Any]) -> bool:
    return (
        message.get("thread_ts", message["ts"]) == message["ts"]
        or message.get("subtype") == "thread_broadcast"
    )


def _in_range(call: Call, message: dict[str, Any]) -> bool:
    ts = float(message["ts"])
    oldest, latest = float(call.args.text("oldest") or 0), float(call.args.text("latest") or "inf")
    if call.args.flag("inclusive"):
        return oldest <= ts <= latest
    return oldest < ts < latest


def _shown(call: Call, message: dict[str, Any]) -> dict[str, Any]:
    return message if call.args.flag("include_all_metadata") else without_metadata(message)


def _page(call: Call, name: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    limit = call.args.number("limit", 1000, low=1, high=1000)
    start = call.args.number("cursor", 0, low=0, high=len(items))
    following = str(start + limit) if start + limit < len(items) else ""
    return {name: items[start : start + limit], "response_metadata": {"next_cursor": following}}


METHODS: Final = {
    "conversations.info": Method(run=info, per_minute=50),
    "conversations.list": Method(run=list_conversations, per_minute=20),
    "conversations.history": Method(run=history, per_minute=50),
    "conversations.replies": Method(run=replies, per_minute=50),
    "conversations.open": Method(run=open_conversation, scope="im:write", per_minute=50),
}
