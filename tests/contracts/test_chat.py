"""The contract of Chat, the same for the fake of the engine's tests and for Slack's adapter."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from oombot.adapters.slack import SlackChat
from oombot.errors import ChatError
from oombot.model import Json
from oombot.ports import Chat
from oombot.workspace import Workspace, seed
from tests.fakes import FakeChat

KINDS = ["fake", "slack", "slack in pages of two"]
PAGE = 2


def view(words: str) -> Json:
    """A message of one sentence."""
    section = {"type": "section", "text": {"type": "mrkdwn", "text": words, "verbatim": True}}
    return {"text": words, "blocks": [section]}


@dataclass
class Room:
    """A chat, and what everybody sees in #oncall: (ts, text, ts of the thread)."""

    chat: Chat
    workspace: Workspace | None = None

    @property
    def seen(self) -> list[tuple[str, str, str | None]]:
        if self.workspace is None:
            assert isinstance(self.chat, FakeChat)
            return [(one.ts, one.view["text"], one.thread_ts) for one in self.chat.posted]
        messages = self.workspace.messages("oncall")
        return [(m["ts"], m["text"], _parent(m)) for m in messages]

    def refuse_next(self, code: str, status: int) -> None:
        """Let the next post be refused."""
        if self.workspace is not None:
            self.workspace.faults.fail("chat.postMessage", code, status=status)
            return
        assert isinstance(self.chat, FakeChat)
        self.chat.refuse.append(ChatError(code, code=code))

    def take_away(self) -> None:
        """Make the directory unavailable."""
        if self.workspace is None:
            assert isinstance(self.chat, FakeChat)
            self.chat.directory_down = True
            return
        for method in ("users.info", "usergroups.users.list"):
            self.workspace.faults.fail(method, "fatal_error", status=500)

    async def post(self, words: str, *, key: str, thread_ts: str | None = None) -> tuple[str, str]:
        return await self.chat.post("oncall", view(words), key=key, version=1, thread_ts=thread_ts)


def _parent(message: dict[str, Any]) -> str | None:
    parent = message.get("thread_ts")
    return None if parent == message["ts"] else parent


@asynccontextmanager
async def pages(api_url: str) -> AsyncIterator[str]:
    """A front of the workspace that hands out history as Slack may: few at a time, with a cursor."""

    async def forward(request: web.Request) -> web.Response:
        query, method = dict(request.query), request.match_info["method"]
        start = int(query.pop("cursor", "0"))
        headers = {k: request.headers[k] for k in ("Authorization", "Content-Type") if k in request.headers}
        body = await request.read()
        async with session.post(api_url + method, params=query, data=body, headers=headers) as answer:
            shown = await answer.json()
            status = answer.status
        if "messages" in shown and method.startswith("conversations."):
            rest = shown["messages"][start:]
            following = str(start + PAGE) if len(rest) > PAGE else ""
            shown |= {"messages": rest[:PAGE], "has_more": bool(following)}
            shown["response_metadata"] = {"next_cursor": following}
        return web.json_response(shown, status=status)

    app = web.Application()
    app.add_routes([web.post("/api/{method}", forward)])
    runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/api/"
        await runner.cleanup()


@pytest.fixture(params=KINDS)
async def room(request: pytest.FixtureRequest) -> AsyncIterator[Room]:
    """An empty #oncall."""
    if request.param == "fake":
        yield Room(FakeChat())
        return
    async with AsyncExitStack() as stack:
        workspace = await stack.enter_async_context(Workspace(post_burst=1000))
        url = workspace.api_url
        if request.param != "slack":
            url = await stack.enter_async_context(pages(url))
        chat = await stack.enter_async_context(SlackChat(token=workspace.bot_token, api_url=url))
        yield Room(chat, workspace)


async def test_a_post_says_where_it_stands(room: Room) -> None:
    """A post returns the channel's id, not its name, and the ts under which all see it."""
    channel_id, ts = await room.post("hello", key="k")
    assert channel_id.startswith("C")
    assert channel_id != "oncall"
    assert room.seen == [(ts, "hello", None)]


async def test_two_posts_are_two_messages(room: Room) -> None:
    """Posts stand in the order in which they were made, each with a ts of its own."""
    first, second = await room.post("one", key="a"), await room.post("two", key="b")
    assert float(first[1]) < float(second[1])
    assert [text for _ts, text, _thread in room.seen] == ["one", "two"]


async def test_a_reply_stands_in_its_thread(room: Room) -> None:
    """A post with the ts of another is a reply to it."""
    _, parent = await room.post("card", key="a")
    _, ts = await room.post("plan", key="b", thread_ts=parent)
    assert room.seen[1] == (ts, "plan", parent)


async def test_an_update_replaces(room: Room) -> None:
    """An update leaves nothing of the old view, and moves no message."""
    channel_id, ts = await room.post("old", key="a")
    other = await room.post("other", key="b")
    await room.chat.update(channel_id, ts, view("new"), key="a", version=2)
    assert room.seen == [(ts, "new", None), (other[1], "other", None)]


async def test_a_delete_removes_one(room: Room) -> None:
    """A deleted message is gone, the others stay."""
    channel_id, ts = await room.post("one", key="a")
    await room.post("two", key="b")
    await room.chat.delete(channel_id, ts)
    assert [text for _ts, text, _thread in room.seen] == ["two"]
    assert await room.chat.find("oncall", "a", since_s=0.0, thread_ts=None) == []


async def test_find_by_key(room: Room) -> None:
    """A message is found by its key alone, also after an edit."""
    mine = await room.post("mine", key="incident:1")
    await room.post("incident:1", key="incident:11")
    await room.chat.update(*mine, view("edited"), key="incident:1", version=2)
    assert await room.chat.find("oncall", "incident:1", since_s=0.0, thread_ts=None) == [mine]
    assert await room.chat.find("oncall", "incident", since_s=0.0, thread_ts=None) == []


async def test_copies_are_found_oldest_first(room: Room) -> None:
    """All copies are found, the first one first, however many pages of other talk lie between."""
    copies = []
    for number in range(3):
        copies.append(await room.post("copy", key="k"))
        for _ in range(2 * PAGE - number):
            await room.post("talk", key="other")
    assert await room.chat.find("oncall", "k", since_s=0.0, thread_ts=None) == copies


async def test_copies_in_a_thread(room: Room) -> None:
    """In a thread copies are found oldest first too, beyond one page."""
    _, parent = await room.post("card", key="card")
    copies = []
    for _ in range(3):
        for _ in range(PAGE):
            await room.post("talk", key="other", thread_ts=parent)
        copies.append(await room.post("plan", key="plan", thread_ts=parent))
    assert await room.chat.find("oncall", "plan", since_s=0.0, thread_ts=parent) == copies


async def test_members(room: Room) -> None:
    """A user group's members are their ids."""
    assert await room.chat.members(seed.ONCALL_GROUP) == {seed.ADA, seed.BEN}


@pytest.mark.parametrize("user_id", seed.PEOPLE)
async def test_full_members_are_persons(room: Room, user_id: str) -> None:
    """An active full member of our workspace is a person."""
    assert await room.chat.is_person(user_id, seed.TEAM.id)


@pytest.mark.parametrize(
    "user_id",
    [seed.GUEST, seed.BOT_USER, seed.OTHER_BOT, seed.SLACKBOT, seed.DEACTIVATED, seed.STRANGER],
)
async def test_others_are_no_persons(room: Room, user_id: str) -> None:
    """A guest, a bot, Slack's own bot, a deactivated user and a stranger are none, whatever team they claim."""
    assert not await room.chat.is_person(user_id, seed.TEAM.id)
    assert not await room.chat.is_person(user_id, seed.FOREIGN_TEAM.id)


async def test_a_member_acting_from_elsewhere_is_no_person(room: Room) -> None:
    """Our own member's id with another team's id is refused."""
    assert not await room.chat.is_person(seed.ADA, seed.FOREIGN_TEAM.id)
    assert not await room.chat.is_person(seed.ADA, "")


async def test_a_refusal_is_a_chat_error(room: Room) -> None:
    """What Slack refuses is a ChatError with Slack's code; nothing was posted, and the next try succeeds."""
    room.refuse_next("restricted_action", 200)
    with pytest.raises(ChatError) as caught:
        await room.post("x", key="k")
    assert (caught.value.code, caught.value.temporary) == ("restricted_action", False)
    assert room.seen == []
    await room.post("x", key="k")


async def test_no_directory_is_no_answer(room: Room) -> None:
    """When nobody can be asked, the answer is an error: neither yes nor no."""
    room.take_away()
    with pytest.raises(ChatError):
        await room.chat.is_person(seed.ADA, seed.TEAM.id)
    with pytest.raises(ChatError):
        await room.chat.members(seed.ONCALL_GROUP)
