"""The real Bolt and the real SDK work against the workspace: the reason it exists."""

import asyncio
import contextlib
from types import SimpleNamespace

import aiohttp
import pytest
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from oombot.workspace import seed


@pytest.fixture
def web(ws):
    """The SDK's client without its own retries."""
    return AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, retry_handlers=[])


@pytest.fixture
async def bolt(ws, web, until):
    """A Bolt app; `start` connects it after the listeners were added."""
    made = SimpleNamespace(app=AsyncApp(client=web), handlers=[])

    async def start():
        handler = AsyncSocketModeHandler(
            made.app, ws.app_token, web_client=AsyncWebClient(base_url=ws.api_url)
        )
        made.handlers.append(handler)
        handler.client.ping_interval = 0.4
        await handler.connect_async()
        await until(lambda: ws.connections)

    made.start = start
    yield made
    for handler in made.handlers:
        await handler.close_async()


async def test_slash_command(ws, bolt):
    """A Bolt command listener answers through its ack."""

    @bolt.app.command("/oom")
    async def oom(ack, command):
        await ack(f"looking at {command['text']}")

    await bolt.start()
    assert (await ws.slash(seed.ADA, "oncall", "/oom host42"))["text"] == "looking at host42"


async def test_respond_after_the_ack(ws, bolt, until):
    """`respond` posts through the response_url, in the channel when asked to."""

    @bolt.app.command("/oom")
    async def oom(ack, respond):
        await ack()
        await respond(text="everybody", response_type="in_channel")

    await bolt.start()
    assert await ws.slash(seed.ADA, "elsewhere", "/oom") is None
    await until(lambda: ws.messages("elsewhere"))
    assert ws.messages("elsewhere")[0]["text"] == "everybody"


async def test_exception_before_the_ack(ws, bolt):
    """A listener that fails before its ack looks like silence."""

    @bolt.app.command("/oom")
    async def oom(ack):
        raise ValueError("before ack")

    await bolt.start()
    assert "operation_timeout" in (await ws.slash(seed.ADA, "oncall", "/oom"))["text"]


async def test_button_modal_submission(ws, bolt, web, kit, until):
    """A button opens a modal, an error keeps it open, a good value closes it and edits the message."""
    ts = (await web.chat_postMessage(channel=seed.ONCALL, text="card", blocks=[kit.actions]))["ts"]

    @bolt.app.action("go")
    async def go(ack, body, client):
        await ack()
        await client.views_open(trigger_id=body["trigger_id"], view={**kit.modal, "callback_id": "ask"})

    @bolt.app.view("ask")
    async def asked(ack, view, client):
        words = view["state"]["values"]["why"]["words"]["value"]
        if words == "no":
            await ack(response_action="errors", errors={"why": "say more"})
            return
        await ack()
        await client.chat_update(channel=seed.ONCALL, ts=ts, text=words)

    await bolt.start()
    assert await ws.click(seed.BEN, "oncall", ts, "go")
    await until(lambda: ws.view(seed.BEN))
    assert await ws.submit(seed.BEN, {"why": "no"}) == {"why": "say more"}
    assert await ws.submit(seed.BEN, {"why": "good reason"}) == {}
    await until(lambda: ws.messages("oncall")[0]["text"] == "good reason")


async def test_mention(ws, bolt, until):
    """An app_mention reaches its listener, which answers in the thread."""

    @bolt.app.event("app_mention")
    async def mentioned(event, say):
        await say(text="yes?", thread_ts=event["ts"])

    await bolt.start()
    parent = await ws.mention(seed.CLEO, "oncall", "are you there?")
    await until(lambda: len(ws.messages("oncall")) == 2)
    assert ws.messages("oncall")[1]["thread_ts"] == parent["ts"]


async def test_bolt_reconnects_after_a_refresh(ws, bolt, until):
    """When Slack refreshes the connection, Bolt comes back and commands work again."""

    @bolt.app.command("/oom")
    async def oom(ack):
        await ack("here")

    await bolt.start()
    for announced in (True, False):
        await ws.faults.disconnect(announced=announced)
        await until(lambda: ws.connections)
        assert (await ws.slash(seed.ADA, "oncall", "/oom"))["text"] == "here"


async def test_upload_v2(ws, web):
    """The SDK's three-step upload shares a file in a thread."""
    ts = (await web.chat_postMessage(channel=seed.ONCALL, text="card"))["ts"]
    await web.files_upload_v2(
        content="line 1\nline 2", filename="dmesg.log", channel=seed.ONCALL, thread_ts=ts
    )
    message = ws.messages("oncall")[1]
    assert (message["thread_ts"], message["files"][0]["preview"]) == (ts, "line 1\nline 2")


async def test_rate_limit_handler_waits(ws, web):
    """The SDK's handler waits as Retry-After tells and succeeds."""
    ws.faults.rate_limit()
    with pytest.raises(SlackApiError, match="ratelimited"):
        await web.chat_postMessage(channel=seed.ONCALL, text="x")
    web.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=1))
    ws.faults.rate_limit(retry_after_s=0)
    await web.chat_postMessage(channel=seed.ONCALL, text="y")
    assert [m["text"] for m in ws.messages("oncall")] == ["y"]


async def test_stored_but_never_answered(ws, web):
    """A post may be stored although its sender sees a broken connection."""
    ws.faults.accept_then_drop()
    with pytest.raises(aiohttp.ClientError):
        await web.chat_postMessage(
            channel=seed.ONCALL, text="x", metadata={"event_type": "e", "event_payload": {}}
        )
    history = await web.conversations_history(channel=seed.ONCALL, include_all_metadata=True)
    assert [m["metadata"]["event_type"] for m in history["messages"]] == ["e"]


async def test_slow_method(ws, web):
    """A method may be late."""
    ws.faults.delay("auth.test", 0.1)
    before = asyncio.get_running_loop().time()
    await web.auth_test()
    assert asyncio.get_running_loop().time() - before >= 0.1


async def test_dm_and_socket_share_nothing(ws, web):
    """The SDK opens a direct message when the scope allows."""
    ws.scopes.add("im:write")
    opened = await web.conversations_open(users=seed.ADA)
    assert opened["channel"]["id"].startswith("D")
    with contextlib.suppress(SlackApiError):
        await web.conversations_open(users=f"{seed.ADA},{seed.BEN}")
        pytest.fail("group messages are not offered")
