"""Slack's adapter where the contract of Chat ends: what goes wrong, and what Slack alone has."""

import gc
import inspect
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import slack_sdk.errors
from aiohttp import web
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_slack_response import AsyncSlackResponse
from yarl import URL

from oombot.adapters.slack import FOREIGN, SlackChat, chat_error
from oombot.errors import ChatError
from oombot.model import Json
from oombot.workspace import Workspace, seed

VIEW: Json = {
    "text": "hello",
    "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "hello", "verbatim": True}}],
}


@pytest.fixture
async def ws() -> AsyncIterator[Workspace]:
    """A workspace that lets one post quickly."""
    async with Workspace(post_burst=1000) as opened:
        yield opened


@pytest.fixture
async def chat(ws: Workspace) -> AsyncIterator[SlackChat]:
    """An open chat on it."""
    async with SlackChat(token=ws.bot_token, api_url=ws.api_url) as opened:
        yield opened


async def post(chat: SlackChat, channel: str = "oncall", **changes: Any) -> tuple[str, str]:
    """Post one message."""
    return await chat.post(channel, VIEW, **{"key": "k", "version": 1, "thread_ts": None, **changes})


def refused(status: int = 200, headers: dict[str, str] | None = None, **body: Any) -> SlackApiError:
    """The SDK's error for an answer of Slack."""
    client: Any = None
    response = AsyncSlackResponse(
        client=client,
        http_verb="POST",
        api_url="http://slack/api/x",
        req_args={},
        data={"ok": False, **body},
        headers=headers or {},
        status_code=status,
    )
    return SlackApiError("refused", response)


# ------------------------------------------------------------------ every foreign error


def sdk_errors() -> dict[str, Exception]:
    """One instance of each error class that we know of in the SDK."""
    errors = slack_sdk.errors
    return {
        "SlackClientError": errors.SlackClientError("x"),
        "BotUserAccessError": errors.BotUserAccessError("x"),
        "SlackRequestError": errors.SlackRequestError("x"),
        "SlackApiError": refused(error="invalid_blocks"),
        "SlackTokenRotationError": errors.SlackTokenRotationError(refused(error="invalid_auth")),
        "SlackClientNotConnectedError": errors.SlackClientNotConnectedError("x"),
        "SlackObjectFormationError": errors.SlackObjectFormationError("x"),
        "SlackClientConfigurationError": errors.SlackClientConfigurationError("x"),
    }


def http_errors() -> dict[str, Exception]:
    """One instance of each error class of aiohttp's client."""
    headers: Any = {}
    request = aiohttp.RequestInfo(URL("http://slack/"), "POST", headers)
    key: Any = SimpleNamespace(host="slack", port=443, ssl=True, is_ssl=True)
    made: dict[str, Exception] = {}
    for name, kind in exported(aiohttp.client_exceptions, aiohttp.ClientError).items():
        if issubclass(kind, aiohttp.ClientConnectorCertificateError):
            made[name] = kind(key, ValueError("wrong name"))
        elif issubclass(kind, aiohttp.client_exceptions.UnixClientConnectorError):
            made[name] = kind("/run/slack", key, OSError(111, "refused"))
        elif issubclass(kind, aiohttp.ClientConnectorError):
            made[name] = kind(key, OSError(111, "refused"))
        elif issubclass(kind, aiohttp.ServerFingerprintMismatch):
            made[name] = kind(b"a", b"b", "slack", 443)
        elif issubclass(kind, aiohttp.ClientResponseError):
            made[name] = kind(request, ())
        else:
            made[name] = kind("x")
    return made


def exported(module: Any, parent: type[Exception]) -> dict[str, Any]:
    """The error classes of a module, by name."""
    found = inspect.getmembers(module, inspect.isclass)
    return {name: kind for name, kind in found if issubclass(kind, parent)}


@pytest.mark.parametrize("name", sorted(exported(slack_sdk.errors, Exception)))
def test_every_error_of_the_sdk_is_mapped(name: str) -> None:
    """Each class that slack_sdk.errors exports is caught and becomes a ChatError; a new one fails here."""
    error = sdk_errors()[name]
    mapped = chat_error(error)
    assert isinstance(error, FOREIGN)
    assert mapped.code == ("invalid_blocks" if name == "SlackApiError" else "")
    assert mapped.temporary == (name != "SlackApiError")


@pytest.mark.parametrize("name", sorted(exported(aiohttp.client_exceptions, aiohttp.ClientError)))
def test_every_error_of_the_http_client_is_mapped(name: str) -> None:
    """Each error of aiohttp's client leaves open what Slack did, and is worth another try."""
    error = http_errors()[name]
    mapped = chat_error(error)
    assert isinstance(error, FOREIGN)
    assert (mapped.code, mapped.temporary) == ("", True)
    assert name in str(mapped)


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(), OSError("no route")])
def test_silence_is_not_certain(error: Exception) -> None:
    """No answer in time and no connection have no code: the message may stand there."""
    assert isinstance(error, FOREIGN)
    assert (chat_error(error).code, chat_error(error).temporary) == ("", True)


@pytest.mark.parametrize("code", ["fatal_error", "internal_error", "service_unavailable"])
def test_errors_within_slack_are_not_certain(code: str) -> None:
    """Slack says of these that part of the call may have been done, also with HTTP 200."""
    mapped = chat_error(refused(error=code))
    assert (mapped.code, mapped.temporary) == ("", True)
    assert code in str(mapped)


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (refused(429, {"Retry-After": "17"}, error="ratelimited"), 17.0),
        (refused(429, {"Retry-After": "0.5"}), 0.5),
        (refused(429), 1.0),
        (refused(429, {"Retry-After": "Fri, 13 Nov 2026 07:28:00 GMT"}), 1.0),
        (refused(429, {"Retry-After": "-5"}), 0.0),
        (refused(200, error="ratelimited"), 1.0),
        (refused(200, error="rate_limited"), 1.0),
    ],
)
def test_slack_asks_to_wait(error: SlackApiError, wait_s: float) -> None:
    """Being too fast is one code, however Slack says it, with the time to wait."""
    mapped = chat_error(error)
    assert (mapped.code, mapped.retry_after_s, mapped.temporary) == ("ratelimited", wait_s, True)


# ------------------------------------------------------------------ what the workspace does


async def test_rate_limit(ws: Workspace, chat: SlackChat) -> None:
    """HTTP 429 carries its Retry-After; nothing was posted."""
    ws.faults.rate_limit(retry_after_s=7)
    with pytest.raises(ChatError) as caught:
        await post(chat)
    assert (caught.value.code, caught.value.retry_after_s) == ("ratelimited", 7.0)
    assert ws.messages("oncall") == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_server_error(ws: Workspace, chat: SlackChat, status: int) -> None:
    """HTTP 5xx leaves open what was done, whatever code comes with it."""
    ws.faults.fail("chat.postMessage", "not_in_channel", status=status)
    with pytest.raises(ChatError) as caught:
        await post(chat)
    assert (caught.value.code, caught.value.temporary) == ("", True)


async def test_cut_connection(ws: Workspace, chat: SlackChat) -> None:
    """An answer that is cut off is not certain; the message stands once: nobody has tried again in secret."""
    ws.faults.accept_then_drop()
    with pytest.raises(ChatError) as caught:
        await post(chat)
    assert (caught.value.code, caught.value.temporary) == ("", True)
    [message] = ws.messages("oncall")
    found = await chat.find("oncall", "k", since_s=0.0, thread_ts=None)
    assert found == [(seed.ONCALL, message["ts"])]


async def test_cut_edit(ws: Workspace, chat: SlackChat) -> None:
    """An edit whose answer is cut off is not certain either, and has happened."""
    channel_id, ts = await post(chat)
    ws.faults.accept_then_drop("chat.update")
    with pytest.raises(ChatError) as caught:
        await chat.update(channel_id, ts, {**VIEW, "text": "new"}, key="k", version=2)
    assert caught.value.code == ""
    assert [message["text"] for message in ws.messages("oncall")] == ["new"]


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", b"<h1>Sign in to the hotel</h1>"),
        (200, "application/json", b"<h1>this is no JSON</h1>"),
        (200, "application/json", b"\xff\xfe"),
        (200, "application/json", b"[]"),
        (200, "application/json", b"[1]"),
        (200, "application/json", b"null"),
        (200, "application/json", b"{}"),
        (200, "text/plain", b"ok"),
        (200, "text/plain", b""),
        (502, "text/html", b"<h1>Bad gateway</h1>"),
        (503, "text/plain", b"try later"),
        (503, "application/json", b"<h1>this is no JSON</h1>"),
    ],
)
async def test_an_answer_that_is_not_slacks(status: int, kind: str, body: bytes) -> None:
    """What a proxy in between answers says nothing about what Slack did."""
    async with odd(status, kind, body) as chat:
        with pytest.raises(ChatError) as caught:
            await post(chat, "C0ONCALL1")
    assert (caught.value.code, caught.value.temporary) == ("", True)


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", b"no"), ("text/plain", b"no"), ("application/json", b"no")]
)
async def test_a_refusal_that_is_not_slacks(kind: str, body: bytes) -> None:
    """HTTP 4xx without words of Slack keeps its number: nothing was done."""
    async with odd(403, kind, body) as chat:
        with pytest.raises(ChatError) as caught:
            await post(chat, "C0ONCALL1")
    assert (caught.value.code, caught.value.temporary) == ("http_403", False)


@pytest.mark.parametrize("kind", ["text/html", "text/plain", "application/json"])
async def test_a_limit_without_words(kind: str) -> None:
    """HTTP 429 without JSON is a rate limit too."""
    async with odd(429, kind, b"slow down") as chat:
        with pytest.raises(ChatError) as caught:
            await post(chat, "C0ONCALL1")
    assert (caught.value.code, caught.value.retry_after_s) == ("ratelimited", 3.0)


@asynccontextmanager
async def odd(status: int, kind: str, body: bytes) -> AsyncIterator[SlackChat]:
    """A chat on a server that knows who we are, and answers everything else in its own way."""

    async def answer(request: web.Request) -> web.Response:
        if request.match_info["method"] == "auth.test":
            return web.json_response({"ok": True, "team_id": seed.TEAM.id, "user_id": seed.BOT_USER})
        headers = {"Content-Type": kind, "Retry-After": "3"}
        return web.Response(status=status, body=body, headers=headers)

    app = web.Application()
    app.add_routes([web.post("/api/{method}", answer)])
    runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/"
    try:
        async with SlackChat(token="xoxb-1", api_url=url) as chat:
            yield chat
    finally:
        await runner.cleanup()


# ------------------------------------------------------------------ tokens, scopes, channels


@pytest.mark.parametrize(
    ("token", "code", "fix"),
    [
        ("xoxb-of-somebody-else", "invalid_auth", "SLACK_BOT_TOKEN is not a valid token"),
        ("xoxp-of-a-user", "invalid_auth", "SLACK_BOT_TOKEN is not a valid token"),
        ("", "not_authed", "SLACK_BOT_TOKEN is empty"),
        ("app", "not_allowed_token_type", "SLACK_BOT_TOKEN takes the xoxb- token"),
    ],
)
async def test_a_wrong_token_is_refused_at_open(ws: Workspace, token: str, code: str, fix: str) -> None:
    """A token that is invalid, missing or swapped with the other is told at open, with the way out."""
    chat = SlackChat(token=ws.app_token if token == "app" else token, api_url=ws.api_url)
    with pytest.raises(ChatError) as caught:
        await chat.__aenter__()
    assert (caught.value.code, caught.value.temporary) == (code, False)
    assert fix in caught.value.fix
    assert ws.app_token not in str(caught.value)
    assert chat.client.session is not None
    assert chat.client.session.closed


@pytest.mark.parametrize("code", ["account_inactive", "token_revoked", "token_expired"])
async def test_a_token_that_was_taken_away(ws: Workspace, code: str) -> None:
    """A token that was valid once is told at open, with the way out."""
    ws.faults.fail("auth.test", code)
    with pytest.raises(ChatError) as caught:
        await SlackChat(token=ws.bot_token, api_url=ws.api_url).__aenter__()
    assert caught.value.code == code
    assert "SLACK_BOT_TOKEN" in caught.value.fix


async def test_nobody_there() -> None:
    """Slack out of reach at open is a passing fault, and nothing stays open."""
    chat = SlackChat(token="xoxb-1", api_url="http://127.0.0.1:1/api/")
    with pytest.raises(ChatError) as caught:
        await chat.__aenter__()
    assert (caught.value.code, caught.value.temporary) == ("", True)
    assert chat.client.session is not None
    assert chat.client.session.closed


async def test_a_missing_scope_is_named(ws: Workspace, chat: SlackChat) -> None:
    """A missing scope is named together with the way to get it."""
    ws.scopes.discard("usergroups:read")
    with pytest.raises(ChatError) as caught:
        await chat.members(seed.ONCALL_GROUP)
    assert caught.value.code == "missing_scope"
    assert "usergroups:read" in caught.value.fix
    assert "oombot slack manifest" in caught.value.fix


async def test_not_in_channel_says_invite(chat: SlackChat) -> None:
    """A channel without the bot is answered by the command that mends it."""
    with pytest.raises(ChatError) as caught:
        await post(chat, "elsewhere")
    assert caught.value.code == "not_in_channel"
    assert "/invite @oombot" in caught.value.fix


@pytest.mark.parametrize("channel", ["secret", seed.PRIVATE, "no-such-channel", "C0NOSUCH1", ""])
async def test_a_channel_that_slack_does_not_show(chat: SlackChat, channel: str) -> None:
    """A private channel without the bot and one that does not exist look the same, by name and by id."""
    with pytest.raises(ChatError) as caught:
        await post(chat, channel)
    assert caught.value.code == "channel_not_found"
    assert "/invite @oombot" in caught.value.fix


async def test_an_archived_channel(chat: SlackChat) -> None:
    """An archived channel says so."""
    with pytest.raises(ChatError) as caught:
        await post(chat, seed.OLD_ALERTS)
    assert caught.value.code == "is_archived"
    assert caught.value.fix


async def test_a_channel_made_later(ws: Workspace, chat: SlackChat) -> None:
    """A name that was unknown is looked up again: the channel may have been made, or the bot invited."""
    with pytest.raises(ChatError):
        await post(chat, "secret")
    ws.directory.join(seed.PRIVATE, seed.BOT_USER)
    assert (await post(chat, "secret"))[0] == seed.PRIVATE


async def test_a_name_is_looked_up_once(ws: Workspace, chat: SlackChat) -> None:
    """A known name costs no further call."""
    await post(chat)
    ws.faults.fail("conversations.list")
    assert (await post(chat))[0] == seed.ONCALL


@pytest.mark.parametrize("channel", ["oncall", seed.ONCALL])
async def test_name_or_id(ws: Workspace, chat: SlackChat, channel: str) -> None:
    """A channel may be given by name or by id."""
    channel_id, ts = await post(chat, channel)
    assert channel_id == seed.ONCALL
    assert await chat.find(channel, "k", since_s=0.0, thread_ts=None) == [(seed.ONCALL, ts)]


async def test_more_channels_than_a_page(ws: Workspace, chat: SlackChat) -> None:
    """A channel on the second page of the list is found."""
    template = ws.directory.channels[seed.ONCALL]
    for number in range(1200):
        kept = {"id": f"C{number:08d}", "name": f"team-{number}", "members": template.members}
        ws.directory.put_channel(type(template)(**kept))
    assert (await post(chat, "team-1199"))[0] == "C00001199"


# ------------------------------------------------------------------ messages


async def test_a_post_is_marked(ws: Workspace, chat: SlackChat) -> None:
    """A message carries its key and version as metadata."""
    await post(chat, key="incident:1", version=3)
    [message] = ws.messages("oncall")
    assert message["metadata"] == {
        "event_type": "oombot_message",
        "event_payload": {"key": "incident:1", "version": 3},
    }


async def test_a_message_marked_by_another_app_is_not_ours(ws: Workspace, chat: SlackChat) -> None:
    """The key can be read by any app: a message of somebody else that carries it is not found."""
    await post(chat, key="other")
    [message] = ws.messages("oncall")
    forged = {**message, "user": seed.OTHER_BOT, "bot_id": "B0CIBOT01", "metadata": _marked("k")}
    ws._state.timeline.add(seed.ONCALL, forged)
    assert await chat.find("oncall", "k", since_s=0.0, thread_ts=None) == []
    _, ts = await post(chat)
    assert await chat.find("oncall", "k", since_s=0.0, thread_ts=None) == [(seed.ONCALL, ts)]


async def test_history_with_odd_metadata(ws: Workspace, chat: SlackChat) -> None:
    """Messages of people and without metadata are passed over."""
    await ws.say(seed.ADA, "oncall", "k")
    await chat.say_alone(seed.ONCALL, seed.ADA, VIEW)
    assert await chat.find("oncall", "k", since_s=0.0, thread_ts=None) == []


async def test_the_channel_and_the_thread_are_two_places(chat: SlackChat) -> None:
    """A reply is found in its thread only, and only what is not older than asked for."""
    parent = await post(chat, key="card")
    reply = await post(chat, key="plan", thread_ts=parent[1])
    assert await chat.find("oncall", "plan", since_s=0.0, thread_ts=None) == []
    assert await chat.find("oncall", "plan", since_s=0.0, thread_ts=parent[1]) == [reply]
    assert await chat.find("oncall", "card", since_s=float(parent[1]) + 1, thread_ts=None) == []


async def test_find_without_history_scope(ws: Workspace, chat: SlackChat) -> None:
    """Without the right to read history the error says so, which the outbox counts on."""
    ws.scopes.discard("channels:history")
    with pytest.raises(ChatError) as caught:
        await chat.find("oncall", "k", since_s=0.0, thread_ts=None)
    assert caught.value.code == "missing_scope"
    assert "channels:history" in caught.value.fix


async def test_editing_what_is_gone(chat: SlackChat) -> None:
    """An edit or removal of a message that is gone is Slack's message_not_found."""
    channel_id, ts = await post(chat)
    await chat.delete(channel_id, ts)
    with pytest.raises(ChatError) as caught:
        await chat.update(channel_id, ts, VIEW, key="k", version=2)
    assert caught.value.code == "message_not_found"
    with pytest.raises(ChatError):
        await chat.delete(channel_id, ts)


async def test_invalid_blocks(chat: SlackChat) -> None:
    """A view that Slack does not take is told by its code, and is not worth another try."""
    view = {"text": "x", "blocks": [{"type": "nothing"}]}
    with pytest.raises(ChatError) as caught:
        await chat.post("oncall", view, key="k", version=1, thread_ts=None)
    assert (caught.value.code, caught.value.temporary) == ("invalid_blocks", False)


async def test_hostile_text_arrives_as_it_was(ws: Workspace, chat: SlackChat) -> None:
    """The adapter changes no text and no key; half a surrogate pair is refused by Slack, not by us."""
    text = 'a "b" \\ \n \u202e \U0001f600 &lt;!channel&gt;'
    await chat.post("oncall", {**VIEW, "text": text}, key=text, version=1, thread_ts=None)
    [message] = ws.messages("oncall")
    assert message["text"] == text
    assert len(await chat.find("oncall", text, since_s=0.0, thread_ts=None)) == 1
    with pytest.raises(ChatError):
        await chat.members(json.loads('"\\ud800"'))


# ------------------------------------------------------------------ people, files, modals


@pytest.mark.parametrize("user_id", ["U0NOBODY1", ""])
async def test_an_unknown_user(chat: SlackChat, user_id: str) -> None:
    """Somebody Slack does not know is an error, which is no yes."""
    with pytest.raises(ChatError) as caught:
        await chat.is_person(user_id, seed.TEAM.id)
    assert caught.value.code == "user_not_found"


async def test_a_channel_of_ones_own_is_not_shared(chat: SlackChat) -> None:
    """A channel of the workspace alone is not shared; of one that Slack does not know it can not be said."""
    assert not await chat.is_shared(seed.ONCALL)
    with pytest.raises(ChatError):
        await chat.is_shared("C0NOSUCH1")


async def test_an_unknown_group(chat: SlackChat) -> None:
    """A user group that does not exist is an error, which is no empty group."""
    with pytest.raises(ChatError) as caught:
        await chat.members("S0NOSUCH1")
    assert caught.value.code == "no_such_subteam"


async def test_upload(ws: Workspace, chat: SlackChat) -> None:
    """A text file goes into the thread."""
    channel_id, ts = await post(chat)
    await chat.upload(channel_id, ts, filename="oom.txt", title="Report", content="line 1\nline 2")
    message = ws.messages("oncall")[1]
    assert (message["thread_ts"], message["files"][0]["title"]) == (ts, "Report")


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "files.completeUploadExternal"])
async def test_upload_refused(ws: Workspace, chat: SlackChat, method: str) -> None:
    """An upload that fails on the way is a ChatError, and nothing is shown."""
    channel_id, ts = await post(chat)
    ws.faults.fail(method, "missing_scope")
    with pytest.raises(ChatError) as caught:
        await chat.upload(channel_id, ts, filename="oom.txt", title="Report", content="x")
    assert caught.value.code == "missing_scope"
    assert len(ws.messages("oncall")) == 1


async def test_say_alone(ws: Workspace, chat: SlackChat) -> None:
    """An ephemeral message is shown to one person and is in no history."""
    await chat.say_alone(seed.ONCALL, seed.ADA, VIEW)
    assert [message["text"] for message in ws.ephemerals(seed.ADA)] == ["hello"]
    assert ws.ephemerals(seed.BEN) == []
    assert ws.messages("oncall") == []


async def test_a_dead_trigger(chat: SlackChat) -> None:
    """A modal whose trigger is not valid is a ChatError."""
    modal = {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": VIEW["blocks"]}
    with pytest.raises(ChatError) as caught:
        await chat.open_view("1.2.3", modal)
    assert caught.value.code == "invalid_trigger_id"
    with pytest.raises(ChatError):
        await chat.update_view("V0NOSUCH1", modal)


# ------------------------------------------------------------------ open and closed


async def test_no_use_before_open_or_after_close(ws: Workspace) -> None:
    """A chat that is not open refuses every call, and asks nobody."""
    chat = SlackChat(token=ws.bot_token, api_url=ws.api_url)
    await all_calls_refused(chat)
    async with chat:
        await post(chat)
    await all_calls_refused(chat)
    assert len(ws.messages("oncall")) == 1


async def all_calls_refused(chat: SlackChat) -> None:
    """Try each call."""
    calls = [
        post(chat, seed.ONCALL),
        post(chat, "oncall"),
        chat.update(seed.ONCALL, "1.000000", VIEW, key="k", version=1),
        chat.delete(seed.ONCALL, "1.000000"),
        chat.find(seed.ONCALL, "k", since_s=0.0, thread_ts=None),
        chat.members(seed.ONCALL_GROUP),
        chat.is_person(seed.ADA, chat.team_id),
        chat.is_shared(seed.ONCALL),
        chat.upload(seed.ONCALL, "1.000000", filename="f", title="t", content="c"),
        chat.say_alone(seed.ONCALL, seed.ADA, VIEW),
        chat.open_view("1.2.3", {}),
        chat.update_view("V1", {}),
    ]
    for call in calls:
        with pytest.raises(ChatError) as caught:
            await call
        assert (caught.value.code, caught.value.temporary) == ("closed", False)


async def test_nothing_leaks(ws: Workspace) -> None:
    """Open, work, fail and close leave no session behind; a leak is a warning, and a warning an error."""
    async with SlackChat(token=ws.bot_token, api_url=ws.api_url) as chat:
        await post(chat)
        ws.faults.accept_then_drop()
        with pytest.raises(ChatError):
            await post(chat)
    with pytest.raises(ChatError):
        await SlackChat(token="xoxb-wrong", api_url=ws.api_url).__aenter__()
    del chat
    gc.collect()


def _marked(key: str) -> Json:
    return {"event_type": "oombot_message", "event_payload": {"key": key, "version": 1}}
