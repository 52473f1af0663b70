"""The outbox: in order, once, at Slack's pace, through faults and crashes."""

import pytest

from oombot.engine.outbox import Outbox
from oombot.errors import ChatError
from oombot.model import Draft
from tests.engine.conftest import Engine


def draft(key: str, text: str = "hello", *, channel: str = "oncall", thread_key: str | None = None) -> Draft:
    block = {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
    return Draft(key=key, channel=channel, view={"text": text, "blocks": [block]}, thread_key=thread_key)


async def test_one_message_a_second_a_channel(engine: Engine) -> None:
    """Three messages of one channel take three seconds; another channel does not wait."""
    await engine.store.put_messages([draft("a"), draft("b"), draft("c"), draft("x", channel="db")])
    outbox = Outbox(engine.context)
    await outbox.flush()
    assert [message.key for message in engine.chat.posted] == ["a", "x"]
    engine.clock.now += 1.0
    await outbox.flush()
    assert [message.key for message in engine.chat.posted] == ["a", "x", "b"]


async def test_edits_coalesce(engine: Engine) -> None:
    """Ten versions of a card while Slack is busy become one edit to the newest."""
    await engine.store.put_messages([draft("a", "0")])
    await engine.send()
    for number in range(1, 11):
        await engine.store.put_messages([draft("a", str(number))])
    await engine.send()
    card = engine.chat.message("a")
    assert (card.view["text"], card.edits) == ("10", 1)


async def test_reply_waits_for_its_parent(engine: Engine) -> None:
    """A reply is posted into the thread of its parent, never before it."""
    await engine.store.put_messages([draft("reply", thread_key="card"), draft("card")])
    await engine.send()
    assert engine.chat.message("reply").thread_ts == engine.chat.message("card").ts


async def test_rate_limit_is_obeyed(engine: Engine) -> None:
    """A 429 is waited out as long as Slack says, and the message is posted once."""
    engine.chat.refuse = [ChatError("wait", code="ratelimited", retry_after_s=30.0)]
    await engine.store.put_messages([draft("a")])
    await engine.outbox.flush()
    engine.clock.now += 29.0
    await engine.outbox.flush()
    assert engine.chat.posted == []
    engine.clock.now += 2.0
    await engine.outbox.flush()
    assert len(engine.chat.posted) == 1


async def test_lost_answer_does_not_double(engine: Engine) -> None:
    """When Slack took the post and its answer was lost, the copy is found by its metadata and kept."""
    engine.chat.drop_after_accept = 1
    await engine.store.put_messages([draft("a")])
    await engine.send()
    assert [message.key for message in engine.chat.posted] == ["a"]
    message = await engine.store.message("a")
    assert message is not None
    assert message.ts == engine.chat.posted[0].ts


async def test_second_copy_is_removed(engine: Engine) -> None:
    """Two copies in Slack after a crash become one."""
    await engine.store.put_messages([draft("a")])
    await engine.store.message_posting("a", engine.clock())
    for _ in range(2):
        await engine.chat.post("oncall", draft("a").view, key="a", version=1, thread_ts=None)
    await engine.send()
    assert len(engine.chat.posted) == 1


async def test_never_accepted_is_posted_again(engine: Engine) -> None:
    """A post that was begun and never reached Slack is posted after a restart."""
    await engine.store.put_messages([draft("a")])
    await engine.store.message_posting("a", engine.clock())
    await engine.send()
    assert [message.key for message in engine.chat.posted] == ["a"]


async def test_without_history_scope_a_repeat_is_marked(engine: Engine) -> None:
    """Where oombot may not look back, the second post says that it is possibly a repeat."""
    engine.chat.history_scope = False
    await engine.store.put_messages([draft("a")])
    await engine.store.message_posting("a", engine.clock())
    await engine.send()
    assert "possibly a repeat" in engine.chat.message("a").view["text"]


@pytest.mark.parametrize("code", ["not_in_channel", "channel_not_found", "invalid_blocks"])
async def test_refusal_does_not_stop_others(engine: Engine, code: str) -> None:
    """A channel that refuses keeps its message queued, and other channels go on."""
    engine.chat.refuse = [ChatError("no", code=code)]
    await engine.store.put_messages([draft("a"), draft("b", channel="db")])
    await engine.outbox.flush()
    assert [message.key for message in engine.chat.posted] == ["b"]
    message = await engine.store.message("a")
    assert message is not None
    assert message.error


async def test_deleted_message_stays_deleted(engine: Engine) -> None:
    """A card that somebody deleted in Slack is not edited for ever, nor posted again."""
    await engine.store.put_messages([draft("a", "0")])
    await engine.send()
    await engine.store.put_messages([draft("a", "1")])
    engine.chat.refuse = [ChatError("gone", code="message_not_found")]
    await engine.send()
    calls = engine.chat.calls
    await engine.send()
    assert engine.chat.calls == calls
    assert len(engine.chat.posted) == 1


@pytest.mark.parametrize("code", ["message_not_found", "edit_window_closed"])
async def test_kills_of_a_digest_that_can_not_be_edited_are_posted(engine: Engine, code: str) -> None:
    """A digest grows by edits: where Slack takes no more of them, what was added is posted, once."""
    await engine.store.put_messages([draft("digest:a", "7001")])
    await engine.send()
    await engine.store.put_messages([draft("digest:a", "7001, 7002")])
    engine.chat.refuse = [ChatError("no", code=code)]
    await engine.send()
    assert [message.view["text"] for message in engine.chat.posted] == ["7001", "7001, 7002"]
    await engine.store.put_messages([draft("digest:a", "7001, 7002, 7003")])
    await engine.send()
    assert [message.view["text"] for message in engine.chat.posted] == ["7001", "7001, 7002, 7003"]


async def test_clock_that_is_set_back_holds_nothing_up(engine: Engine) -> None:
    """A second between two messages is a second, though the clock is set back by an hour meanwhile."""
    await engine.store.put_messages([draft("a"), draft("b")])
    await engine.outbox.flush()
    engine.clock.now -= 3600.0
    await engine.send()
    assert [message.key for message in engine.chat.posted] == ["a", "b"]


async def test_kills_come_before_gaps(engine: Engine) -> None:
    """A fleet that is started anew tells of a gap a host: the kill after them does not wait behind all of them."""
    gaps = [draft(f"gap:web{number}") for number in range(3)]
    await engine.store.put_messages([*gaps, draft("incident:a")])
    await engine.send()
    assert engine.chat.posted[0].key == "incident:a"
    assert len(engine.chat.posted) == 4
