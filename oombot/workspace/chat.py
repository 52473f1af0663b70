"""The chat.* methods: posting, editing and deleting messages."""

import re
from collections.abc import Mapping
from typing import Any, Final

from oombot.workspace.calls import Call, Method
from oombot.workspace.errors import SlackError
from oombot.workspace.message_content import Content, read_content

UPDATE_TEXT_MAX: Final = 4000
_TS: Final = re.compile(r"\d+\.\d{6}")


def post_message(call: Call) -> dict[str, Any]:
    """chat.postMessage."""
    channel = call.channel_to_write()
    content = _content(call)
    if content.is_empty:
        raise SlackError("no_text")
    message = call.state.bot_author() | content.as_json() | _thread_fields(call, channel.id)
    stored = call.state.timeline.add(channel.id, message)
    return {"channel": channel.id, "ts": stored["ts"], "message": without_metadata(stored)}


def update_message(call: Call) -> dict[str, Any]:
    """chat.update: text alone deletes the blocks, attachments and metadata survive when left out."""
    channel = call.channel()
    if channel.is_archived:
        raise SlackError("is_archived")
    message = _own_message(call, channel.id, "cant_update_message")
    window_s = call.state.edit_window_s
    if window_s is not None and call.state.clock() - float(message["ts"]) > window_s:
        raise SlackError("edit_window_closed")
    content = _content(call)
    if len(content.text or "") > UPDATE_TEXT_MAX:
        raise SlackError("msg_too_long")
    if (
        content.text is None
        and content.blocks is None
        and content.attachments is None
        and content.metadata is None
    ):
        raise SlackError("no_text")
    edited = edited_message(message, content)
    if Content(**{key: edited.get(key) for key in ("text", "blocks", "attachments")}).is_empty:
        raise SlackError("no_text")
    if not edited.get("blocks"):
        edited["edited"] = {"user": message["user"], "ts": call.state.timeline.next_ts()}
    call.state.timeline.put(channel.id, edited)
    shown = without_metadata(edited)
    return {"channel": channel.id, "ts": message["ts"], "text": edited["text"], "message": shown}


def edited_message(message: Mapping[str, Any], content: Content) -> dict[str, Any]:
    """Return a message after an edit with this content."""
    edited = {key: value for key, value in message.items() if key not in _COUNTERS}
    if content.text is not None or content.blocks is not None:
        edited["text"] = content.shown_text
        edited["blocks"] = content.blocks or []
    if content.attachments is not None:
        edited["attachments"] = content.attachments
    if content.metadata is not None:
        edited["metadata"] = content.metadata
    return {key: value for key, value in edited.items() if key == "text" or value not in ([], {})}


def delete_message(call: Call) -> dict[str, Any]:
    """chat.delete."""
    channel = call.channel()
    message = _own_message(call, channel.id, "cant_delete_message")
    call.state.timeline.remove(channel.id, message["ts"])
    return {"channel": channel.id, "ts": message["ts"]}


def post_ephemeral(call: Call) -> dict[str, Any]:
    """chat.postEphemeral: shown once to one member of the channel."""
    channel = call.channel_to_write()
    user = call.state.directory.users.get(call.args.required("user"))
    if user is None or user.deleted or user.id not in channel.members:
        raise SlackError("user_not_in_channel")
    content = _content(call)
    if content.is_empty:
        raise SlackError("no_text")
    message = call.state.bot_author() | content.as_json() | _thread_fields(call, channel.id)
    return {"message_ts": call.state.timeline.add_ephemeral(user.id, channel.id, message)["ts"]}


def get_permalink(call: Call) -> dict[str, Any]:
    """chat.getPermalink: a link that opens the message on the workspace's own page."""
    channel = call.channel()
    ts = call.args.required("message_ts")
    message = call.state.timeline.find(channel.id, ts)
    if message is None:
        raise SlackError("message_not_found")
    link = f"{call.state.base_url}/archives/{channel.id}/p{ts.replace('.', '')}"
    if message.get("thread_ts", ts) != ts:
        link += f"?thread_ts={message['thread_ts']}&cid={channel.id}"
    return {"channel": channel.id, "permalink": link}


def without_metadata(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as it is answered when metadata was not asked for."""
    return {key: value for key, value in message.items() if key != "metadata"}


_COUNTERS: Final = {"reply_count", "reply_users", "reply_users_count", "latest_reply"}


def _content(call: Call) -> Content:
    ready = {file.id for file in call.state.files.values() if file.is_complete}
    return read_content(call.args.raw, ready)


def _thread_fields(call: Call, channel_id: str) -> dict[str, Any]:
    ts = call.args.text("thread_ts")
    if not ts:
        return {}
    parent = call.state.timeline.find(channel_id, ts)
    if parent is None:
        raise SlackError("thread_not_found")
    if parent.get("thread_ts", ts) != ts:
        raise SlackError("cannot_reply_to_message")
    broadcast = {"subtype": "thread_broadcast"} if call.args.flag("reply_broadcast") else {}
    return {"thread_ts": ts, **broadcast}


def _own_message(call: Call, channel_id: str, refusal: str) -> dict[str, Any]:
    ts = call.args.required("ts")
    if not _TS.fullmatch(ts):
        raise SlackError("message_not_found")
    message = call.state.timeline.find(channel_id, ts)
    if message is None:
        raise SlackError("message_not_found")
    if message.get("bot_id") != call.state.directory.bot.bot_id:
        raise SlackError(refusal)
    return message


METHODS: Final = {
    "chat.postMessage": Method(run=post_message, scope="chat:write", is_post=True),
    "chat.update": Method(run=update_message, scope="chat:write", per_minute=50),
    "chat.delete": Method(run=delete_message, scope="chat:write", per_minute=50),
    "chat.postEphemeral": Method(run=post_ephemeral, scope="chat:write"),
    "chat.getPermalink": Method(run=get_permalink, per_minute=600),
}
