"""chat.postMessage, chat.update, chat.delete, chat.postEphemeral and what history returns."""

import json
from dataclasses import replace

import pytest

from oombot.workspace import seed

METADATA = {"event_type": "oom", "event_payload": {"id": "i1", "count": 2, "tags": ["a"]}}


async def test_message_is_stored(ws, post):
    """A posted message appears in the channel as the bot's."""
    answer = await post(text="hello")
    (message,) = ws.messages("oncall")
    assert (answer.ts, "hello", seed.BOT_ID) == (message["ts"], message["text"], message["bot_id"])


async def test_ts_grows_even_when_the_clock_stands_still(post):
    """Two messages in the same instant have different, growing ts."""
    first, second = (await post(text="a")).ts, (await post(text="b")).ts
    assert first < second
    assert first[:11] == "1763900000."


@pytest.mark.parametrize("content", [{}, {"text": ""}, {"text": " "}, {"blocks": []}])
async def test_nothing_to_say(api, content):
    """A message without text, blocks and attachments is refused."""
    assert (await api("chat.postMessage", channel=seed.ONCALL, **content)).error == "no_text"


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        (seed.ELSEWHERE, "not_in_channel"),
        (seed.PRIVATE, "channel_not_found"),
        ("C0NOWHERE", "channel_not_found"),
        ("", "channel_not_found"),
        (seed.OLD_ALERTS, "is_archived"),
        (seed.DEACTIVATED, "channel_not_found"),
    ],
)
async def test_channels_the_bot_cannot_post_to(api, channel, error):
    """Foreign, private, unknown and archived channels each have their refusal."""
    assert error == (await api("chat.postMessage", channel=channel, text="x")).error


async def test_public_scope_posts_without_membership(ws, api):
    """chat:write.public covers public channels only."""
    ws.scopes.add("chat:write.public")
    assert (await api("chat.postMessage", channel=seed.ELSEWHERE, text="x")).ok
    assert (await api("chat.postMessage", channel=seed.PRIVATE, text="x")).error == "channel_not_found"


async def test_a_user_id_opens_a_direct_message(ws, api):
    """Posting to a user answers the D… id that edits need."""
    answer = await api("chat.postMessage", channel=seed.ADA, text="psst")
    assert answer.channel[0] == "D"
    assert (await api("chat.update", channel=answer.channel, ts=answer.ts, text="psst!")).ok
    assert ws.messages(answer.channel)[0]["text"] == "psst!"


async def test_blocks_that_are_not_a_list(api):
    """Blocks that are no JSON array are refused by format."""
    for blocks in ("{oops", {"type": "divider"}):
        assert (
            await api("chat.postMessage", channel=seed.ONCALL, blocks=blocks)
        ).error == "invalid_blocks_format"


async def test_invalid_blocks_say_where(api):
    """A bad block is refused with a pointer to it."""
    answer = await api("chat.postMessage", channel=seed.ONCALL, text="x", blocks=[{"type": "marquee"}])
    assert answer.error == "invalid_blocks"
    assert answer.response_metadata["messages"] == [
        "[ERROR] unsupported type: marquee [json-pointer:/blocks/0/type]"
    ]


async def test_blocks_too_long(api):
    """Blocks that pass one by one can still be too long together."""
    section = {"type": "section", "fields": [{"type": "plain_text", "text": "x" * 2000}] * 10}
    answer = await api("chat.postMessage", channel=seed.ONCALL, text="x", blocks=[section] * 50)
    assert answer.error == "msg_blocks_too_long"


async def test_text_of_blocks_is_the_notification(ws, post, kit):
    """Without text Slack builds it from the blocks."""
    await post(blocks=[kit.section])
    assert ws.messages("oncall")[0]["text"] == "hello"


async def test_missing_ids_are_filled_in(ws, post, kit):
    """Blocks and elements without ids get them."""
    button = {key: value for key, value in kit.button.items() if key != "action_id"}
    await post(text="x", blocks=[{"type": "actions", "elements": [button]}])
    (block,) = ws.messages("oncall")[0]["blocks"]
    assert block["block_id"]
    assert block["elements"][0]["action_id"]


async def test_long_text_is_cut(ws, post):
    """Text beyond 40 000 characters is truncated, not refused."""
    await post(text="x" * 40_001)
    assert len(ws.messages("oncall")[0]["text"]) == 40_000


async def test_markdown_text_stands_alone(api):
    """markdown_text does not go with text."""
    assert (await api("chat.postMessage", channel=seed.ONCALL, text="x", markdown_text="y")).error == (
        "markdown_text_conflict"
    )


async def test_attachments_are_checked_too(api, kit):
    """Blocks in attachments obey the same rules, and unknown keys are refused."""
    bad = [{"color": "#ff0000", "blocks": [{"type": "marquee"}]}]
    assert (await api("chat.postMessage", channel=seed.ONCALL, attachments=bad)).error == "invalid_blocks"
    unknown = [{"colour": "#ff0000", "blocks": [kit.section]}]
    assert (
        await api("chat.postMessage", channel=seed.ONCALL, attachments=unknown)
    ).error == "invalid_attachments"


async def test_attachment_colour_is_stored_bare(ws, post, kit):
    """Slack keeps the colour without its #."""
    await post(text="x", attachments=[{"color": "#FF0000", "blocks": [kit.section]}])
    assert ws.messages("oncall")[0]["attachments"][0]["color"] == "ff0000"


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"event_type": "oom", "event_payload": {"x": "y" * 20_000}}, "metadata_too_large"),
        ({"event_type": "oom"}, "invalid_metadata_format"),
        ("{", "invalid_metadata_format"),
        ({"event_type": "oom", "event_payload": {"a": {"b": {"c": 1}}}}, "invalid_metadata_schema"),
    ],
)
async def test_metadata_is_checked(api, metadata, error):
    """Metadata must be small, complete and flat."""
    assert error == (await api("chat.postMessage", channel=seed.ONCALL, text="x", metadata=metadata)).error


@pytest.mark.parametrize("method", ["conversations.history", "conversations.replies"])
async def test_metadata_is_returned_on_request_only(api, post, method):
    """History shows metadata only with include_all_metadata."""
    ts = (await post(text="x", metadata=METADATA)).ts
    (bare,) = (await api(method, channel=seed.ONCALL, ts=ts)).messages
    (full,) = (await api(method, channel=seed.ONCALL, ts=ts, include_all_metadata=True)).messages
    assert "metadata" not in bare
    assert full["metadata"] == METADATA


async def test_thread_replies(ws, api, post):
    """Replies hang under their parent, which counts them, and are not in the channel's history."""
    parent = (await post(text="parent")).ts
    reply = (await post(text="reply", thread_ts=parent)).ts
    assert parent == ws.messages("oncall")[1]["thread_ts"]
    assert ws.messages("oncall")[0]["reply_count"] == 1
    history = (await api("conversations.history", channel=seed.ONCALL)).messages
    assert [parent] == [message["ts"] for message in history]
    thread = (await api("conversations.replies", channel=seed.ONCALL, ts=parent)).messages
    assert [parent, reply] == [message["ts"] for message in thread]


async def test_replying_to_nothing(api, post):
    """A thread needs an existing parent, and a reply is no parent."""
    unknown = await api("chat.postMessage", channel=seed.ONCALL, text="x", thread_ts="1.000000")
    assert unknown.error == "thread_not_found"
    parent = (await post(text="parent")).ts
    reply = (await post(text="reply", thread_ts=parent)).ts
    nested = await api("chat.postMessage", channel=seed.ONCALL, text="x", thread_ts=reply)
    assert nested.error == "cannot_reply_to_message"
    assert (
        await api("conversations.replies", channel=seed.ONCALL, ts="1.000000")
    ).error == "thread_not_found"


async def test_history_is_newest_first_and_bounded(api, post):
    """oldest, latest and limit cut the history."""
    a, b, c = [(await post(text=name)).ts for name in "abc"]
    history = await api("conversations.history", channel=seed.ONCALL, limit=2)
    assert ([c, b], True) == ([m["ts"] for m in history.messages], history.has_more)
    between = await api("conversations.history", channel=seed.ONCALL, oldest=a, latest=c)
    assert [b] == [m["ts"] for m in between.messages]


async def test_history_needs_membership(api):
    """The history of a channel without the bot is refused."""
    assert (await api("conversations.history", channel=seed.ELSEWHERE)).error == "not_in_channel"


async def test_text_alone_deletes_the_blocks(ws, api, post, kit):
    """An edit with text only removes blocks and marks the message edited; attachments and metadata survive."""
    content = {"blocks": [kit.section], "attachments": [{"color": "good", "text": "a"}], "metadata": METADATA}
    ts = (await post(text="x", **content)).ts
    assert (await api("chat.update", channel=seed.ONCALL, ts=ts, text="y")).ok
    (message,) = ws.messages("oncall")
    assert "blocks" not in message
    assert (message["text"], message["attachments"][0]["text"], message["metadata"]) == ("y", "a", METADATA)
    assert "edited" in message


async def test_edit_with_blocks_is_not_marked(ws, api, post, kit):
    """An edit with blocks leaves no (edited) flag."""
    ts = (await post(text="x")).ts
    await api("chat.update", channel=seed.ONCALL, ts=ts, text="y", blocks=[kit.section])
    assert "edited" not in ws.messages("oncall")[0]


async def test_empty_lists_take_parts_away(ws, api, post, kit):
    """Empty attachments remove the old ones."""
    ts = (await post(text="x", attachments=[{"text": "a"}])).ts
    await api("chat.update", channel=seed.ONCALL, ts=ts, text="y", attachments=[])
    assert "attachments" not in ws.messages("oncall")[0]


async def test_update_to_nothing(api, post):
    """An edit must leave something."""
    ts = (await post(text="x")).ts
    assert (await api("chat.update", channel=seed.ONCALL, ts=ts)).error == "no_text"
    assert (await api("chat.update", channel=seed.ONCALL, ts=ts, text="")).error == "no_text"


async def test_update_has_a_shorter_text_limit(api, post):
    """Text of more than 4000 characters cannot be edited in."""
    ts = (await post(text="x")).ts
    assert (await api("chat.update", channel=seed.ONCALL, ts=ts, text="x" * 4001)).error == "msg_too_long"


@pytest.mark.parametrize("ts", ["1.000000", "today"])
async def test_update_of_nothing(api, ts):
    """A message that does not exist cannot be edited."""
    assert (await api("chat.update", channel=seed.ONCALL, ts=ts, text="x")).error == "message_not_found"


@pytest.mark.parametrize(
    ("method", "error"), [("chat.update", "cant_update_message"), ("chat.delete", "cant_delete_message")]
)
async def test_other_peoples_messages_are_out_of_reach(ws, api, method, error):
    """The bot edits and deletes only its own messages."""
    ts = (await ws.say(seed.ADA, "oncall", "mine"))["ts"]
    assert error == (await api(method, channel=seed.ONCALL, ts=ts, text="x")).error


async def test_names_are_for_posting_only(api):
    """A channel may be named to post; edits and reads need its id."""
    posted = await api("chat.postMessage", channel="#oncall", text="x")
    assert posted.channel == seed.ONCALL
    for method in ("chat.update", "chat.delete", "conversations.info", "conversations.history"):
        assert (await api(method, channel="oncall", ts=posted.ts, text="y")).error == "channel_not_found"


async def test_edit_window(ws, api, post, clock):
    """When the workspace limits edits, an old message stays as it is."""
    ws.set_edit_window(60)
    ts = (await post(text="x")).ts
    clock.move(61)
    assert (await api("chat.update", channel=seed.ONCALL, ts=ts, text="y")).error == "edit_window_closed"


async def test_delete(ws, api, post):
    """A deleted message is gone."""
    ts = (await post(text="x")).ts
    assert (await api("chat.delete", channel=seed.ONCALL, ts=ts)).ok
    assert ws.messages("oncall") == []


async def test_ephemeral_is_out_of_reach(ws, api):
    """An ephemeral message is not in history and cannot be edited or deleted."""
    answer = await api("chat.postEphemeral", channel=seed.ONCALL, user=seed.ADA, text="only you")
    assert ws.ephemerals(seed.ADA)[0]["text"] == "only you"
    assert ws.ephemerals(seed.BEN) == []
    assert (await api("conversations.history", channel=seed.ONCALL)).messages == []
    for method in ("chat.update", "chat.delete"):
        refused = await api(method, channel=seed.ONCALL, ts=answer.message_ts, text="x")
        assert refused.error == "message_not_found"


async def test_ephemeral_needs_a_member(api):
    """Only members of the channel are shown an ephemeral message."""
    answer = await api("chat.postEphemeral", channel=seed.GENERAL, user=seed.GUEST, text="x")
    assert answer.error == "user_not_in_channel"


async def test_form_fields_carry_json(ws, http, kit):
    """Blocks may come as JSON text in a form."""
    form = {"channel": seed.ONCALL, "text": "x", "blocks": json.dumps([kit.section])}
    headers = {"Authorization": f"Bearer {ws.bot_token}"}
    async with http.post(ws.api_url + "chat.postMessage", data=form, headers=headers) as answer:
        assert (await answer.json())["ok"]
    assert ws.messages("oncall")[0]["blocks"][0]["type"] == "section"


async def test_edit_of_attachments_alone(ws, api, post, kit):
    """An edit with attachments only leaves text and blocks as they are."""
    ts = (await post(text="x", blocks=[kit.section])).ts
    assert (await api("chat.update", channel=seed.ONCALL, ts=ts, attachments=[{"text": "a"}])).ok
    (message,) = ws.messages("oncall")
    assert (message["text"], len(message["blocks"]), message["attachments"][0]["text"]) == ("x", 1, "a")


async def test_archived_channels_are_not_edited(ws, api, post):
    """Once a channel is archived its messages stay."""
    ts = (await post(text="x")).ts
    ws.directory.put_channel(replace(ws.directory.channels[seed.ONCALL], is_archived=True))
    assert (await api("chat.update", channel=seed.ONCALL, ts=ts, text="y")).error == "is_archived"


async def test_metadata_survives_or_changes(ws, api, post):
    """An edit may replace the metadata."""
    ts = (await post(text="x", metadata=METADATA)).ts
    changed = {**METADATA, "event_payload": {"id": "i2"}}
    await api("chat.update", channel=seed.ONCALL, ts=ts, text="y", metadata=changed)
    assert ws.messages("oncall")[0]["metadata"] == changed


async def test_markdown_text(ws, api, post):
    """markdown_text alone is the text, within its own limit."""
    await post(markdown_text="**bold**")
    assert ws.messages("oncall")[0]["text"] == "**bold**"
    assert (
        await api("chat.postMessage", channel=seed.ONCALL, markdown_text="x" * 12_001)
    ).error == "msg_too_long"


@pytest.mark.parametrize("attachments", ["{", {"text": "a"}, ["a"]])
async def test_attachments_are_a_list_of_objects(api, attachments):
    """Attachments of another shape are refused."""
    answer = await api("chat.postMessage", channel=seed.ONCALL, attachments=attachments)
    assert answer.error == "invalid_attachments"


async def test_hundred_attachments(api):
    """There are at most 100 attachments."""
    answer = await api("chat.postMessage", channel=seed.ONCALL, attachments=[{"text": "a"}] * 101)
    assert answer.error == "too_many_attachments"


@pytest.mark.parametrize("metadata", [{"event_type": "", "event_payload": {}}, {**METADATA, "entities": []}])
async def test_metadata_shape(api, metadata):
    """Metadata has a type, a payload and nothing else."""
    answer = await api("chat.postMessage", channel=seed.ONCALL, text="x", metadata=metadata)
    assert answer.error in {"invalid_metadata_format", "invalid_metadata_schema"}


async def test_broadcast_reply(api, post):
    """A broadcast reply is in the channel's history too; a reply alone is found by its own ts."""
    parent = (await post(text="parent")).ts
    reply = (await post(text="reply", thread_ts=parent, reply_broadcast=True)).ts
    history = (await api("conversations.history", channel=seed.ONCALL)).messages
    assert [m["ts"] for m in history] == [reply, parent]
    alone = (await api("conversations.replies", channel=seed.ONCALL, ts=reply)).messages
    assert [m["ts"] for m in alone] == [reply]
    link = (await api("chat.getPermalink", channel=seed.ONCALL, message_ts=reply)).permalink
    assert f"thread_ts={parent}" in link


async def test_inclusive_bounds(api, post):
    """inclusive counts the bounds in."""
    ts = (await post(text="x")).ts
    bounds = {"oldest": ts, "latest": ts}
    assert (await api("conversations.history", channel=seed.ONCALL, **bounds)).messages == []
    assert (
        len((await api("conversations.history", channel=seed.ONCALL, inclusive=True, **bounds)).messages) == 1
    )


@pytest.mark.parametrize(
    ("content", "error"), [({}, "no_text"), ({"text": "x", "thread_ts": "1.000000"}, "thread_not_found")]
)
async def test_ephemeral_obeys_the_same_rules(api, content, error):
    """An ephemeral message needs content and a real thread."""
    assert (await api("chat.postEphemeral", channel=seed.ONCALL, user=seed.ADA, **content)).error == error
