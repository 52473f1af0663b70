"""What may be done through a response_url, and through the payload of a slash command's acknowledgement."""

from collections.abc import Mapping
from typing import Any

from oombot.workspace.calls import Args
from oombot.workspace.chat import edited_message
from oombot.workspace.errors import SlackError
from oombot.workspace.message_content import Content, read_content
from oombot.workspace.state import ResponseUrl, State
from oombot.workspace.views import ready_files


def respond(state: State, url: ResponseUrl, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Carry out one response and return the message shown, if any; the bot need not be a member."""
    args = Args(body)
    if args.flag("delete_original"):
        _delete_original(state, url)
        return None
    content = read_content(body, ready_files(state))
    if content.is_empty:
        raise SlackError("no_text")
    if args.flag("replace_original") and url.message_ts:
        return _replace_original(state, url, content)
    message = state.bot_author() | content.as_json()
    if thread_ts := args.text("thread_ts"):
        message["thread_ts"] = thread_ts
    if args.text("response_type", "ephemeral") == "in_channel":
        return state.timeline.add(url.channel_id, message)
    return state.timeline.add_ephemeral(url.user_id, url.channel_id, message)


def _delete_original(state: State, url: ResponseUrl) -> None:
    if url.message_ts is None:
        raise SlackError("message_not_found")
    if url.is_ephemeral:
        state.timeline.remove_ephemeral(url.message_ts)
    else:
        state.timeline.remove(url.channel_id, url.message_ts)


def _replace_original(state: State, url: ResponseUrl, content: Content) -> dict[str, Any]:
    ts = url.message_ts or ""
    if url.is_ephemeral:  # stays ephemeral whatever response_type says
        shown = state.timeline.find_ephemeral(ts)
        if shown is None:
            raise SlackError("message_not_found")
        edited = edited_message(shown.message, content)
        state.timeline.put_ephemeral(edited)
        return edited
    message = state.timeline.find(url.channel_id, ts)
    if message is None:
        raise SlackError("message_not_found")
    edited = edited_message(message, content)
    state.timeline.put(url.channel_id, edited)
    return edited
