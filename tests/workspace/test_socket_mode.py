"""Socket Mode: connecting, acknowledging, redelivery and disconnects."""

import asyncio

import aiohttp
import pytest

from oombot.workspace import Workspace, seed


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_address_is_loopback(host):
    """The page's address is loopback, also when every interface is bound."""
    async with Workspace(host=host) as ws:
        assert ws.url.startswith("http://127.0.0.1:")
        assert ws.api_url == ws.url + "/api/"


async def test_hello(app):
    """A socket is greeted with the number of connections, the app and the expected lifetime."""
    (hello,) = app.hellos
    assert (hello["num_connections"], hello["connection_info"]) == (1, {"app_id": seed.APP_ID})
    assert hello["debug_info"]["approximate_connection_time"] > 3600


async def test_a_url_works_once(app, http):
    """A connection URL is single-use."""
    url = await app.url()
    async with http.ws_connect(url) as socket:
        assert (await socket.receive_json())["type"] == "hello"
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await http.ws_connect(url)


async def test_debug_reconnects_shortens_the_connection(app, http):
    """`&debug_reconnects=true` announces 360 seconds."""
    async with http.ws_connect(await app.url() + "&debug_reconnects=true") as socket:
        hello = await socket.receive_json()
    assert hello["debug_info"]["approximate_connection_time"] == 360


async def test_eleventh_socket_is_refused(ws, app):
    """Ten sockets may be open, one more is told so."""
    for _ in range(10):
        await app.connect()
    assert ([g["reason"] for g in app.goodbyes], ws.connections) == (["too_many_websockets"], 10)


async def test_each_payload_goes_to_one_socket(ws, app):
    """Two connections share the traffic without a pattern; nothing arrives twice."""
    await app.connect()
    await asyncio.gather(*(ws.slash(seed.ADA, "oncall", f"/oom {n}") for n in range(40)))
    assert sorted(e["payload"]["text"] for e in app.envelopes) == sorted(str(n) for n in range(40))
    assert all(app.counts)


async def test_pings_are_answered(app, http):
    """A ping frame gets its pong."""
    async with http.ws_connect(await app.url(), autoping=False) as socket:
        await socket.receive_json()
        await socket.ping(b"sdk-ping-pong:1")
        pong = await socket.receive()
    assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"sdk-ping-pong:1")


async def test_envelope(ws, app):
    """An envelope has an id, a type, a payload and says whether the ack may carry one."""
    await ws.slash(seed.ADA, "oncall", "/oom")
    (envelope,) = app.envelopes
    assert set(envelope) == {"envelope_id", "type", "payload", "accepts_response_payload"}
    assert (envelope["type"], envelope["accepts_response_payload"]) == ("slash_commands", True)


async def test_event_envelope(ws, app, until):
    """A mention is delivered as an event with its id, attempt and the bot's authorization."""
    message = await ws.mention(seed.BEN, "oncall", "help")
    envelope = await until(lambda: app.envelopes and app.envelopes[0])
    payload = envelope["payload"]
    assert (envelope["type"], envelope["retry_attempt"], envelope["retry_reason"]) == ("events_api", 0, "")
    assert not envelope["accepts_response_payload"]
    assert (payload["type"], payload["event"]["type"]) == ("event_callback", "app_mention")
    assert (payload["event"]["user"], payload["event"]["channel"]) == (seed.BEN, seed.ONCALL)
    assert payload["event"]["ts"] == message["ts"]
    assert payload["authorizations"][0]["user_id"] == seed.BOT_USER


async def test_unacknowledged_event_comes_again(ws, app, until):
    """An event without ack is delivered four times in all, with the same event_id."""
    app.answer = lambda _envelope: None
    await ws.mention(seed.ADA, "oncall", "help")
    await until(lambda: len(app.envelopes) == 4)
    await asyncio.sleep(1.0)
    assert [e["retry_attempt"] for e in app.envelopes] == [0, 1, 2, 3]
    assert [e["retry_reason"] for e in app.envelopes] == ["", "timeout", "timeout", "timeout"]
    assert len({e["payload"]["event_id"] for e in app.envelopes}) == 1
    assert len({e["envelope_id"] for e in app.envelopes}) == 4


async def test_acknowledged_event_comes_once(ws, app, until):
    """An acknowledged event is not delivered again."""
    await ws.mention(seed.ADA, "oncall", "help")
    await until(lambda: app.envelopes)
    await asyncio.sleep(1.0)
    assert len(app.envelopes) == 1


async def test_event_while_disconnected_is_retried(ws, app, until):
    """With no socket open, an event waits for the next redelivery."""
    await ws.faults.disconnect()
    await ws.mention(seed.ADA, "oncall", "help")
    await app.connect()
    envelope = await until(lambda: app.envelopes and app.envelopes[0])
    assert envelope["retry_attempt"] >= 1
    assert envelope["retry_reason"] == "connection_failed"


async def test_interactions_are_not_redelivered(ws, app):
    """A slash command without ack is never sent again."""
    app.answer = lambda _envelope: None
    await ws.slash(seed.ADA, "oncall", "/oom")
    await asyncio.sleep(1.0)
    assert len(app.envelopes) == 1


@pytest.mark.parametrize("reason", ["refresh_requested", "link_disabled"])
async def test_disconnect_is_announced(ws, app, until, reason):
    """A refresh says why, then closes the socket."""
    await ws.faults.disconnect(reason)
    await until(lambda: app.sockets[0].closed)
    assert ([g["reason"] for g in app.goodbyes], ws.connections) == ([reason], 0)


async def test_disconnect_without_a_word(ws, app, until):
    """A socket may also simply go away."""
    await ws.faults.disconnect(announced=False)
    await until(lambda: app.sockets[0].closed)
    assert app.goodbyes == []


async def test_warning_leaves_the_socket_open(ws, app, until):
    """A warning comes ahead of the disconnect."""
    await ws.faults.disconnect("warning")
    await until(lambda: app.goodbyes)
    assert (app.goodbyes[0]["reason"], ws.connections) == ("warning", 1)


async def test_junk_on_the_socket_is_ignored(ws, app):
    """Frames that are no acknowledgement do no harm."""
    for junk in ("{", "[]", '{"envelope_id": "nobody"}', '"x"'):
        await app.sockets[0].send_str(junk)
    assert await ws.slash(seed.ADA, "oncall", "/oom") is None


async def test_closing_leaves_nothing_behind():
    """A workspace closes without waiting for them, open sockets and waiting redeliveries included."""
    async with aiohttp.ClientSession() as session:
        async with Workspace() as ws:
            async with session.post(
                ws.api_url + "apps.connections.open", headers={"Authorization": f"Bearer {ws.app_token}"}
            ) as answer:
                socket = await session.ws_connect((await answer.json())["url"])
            await ws.mention(seed.ADA, "oncall", "nobody acknowledges this")
            before = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - before < 15
        await socket.close()
    assert len(asyncio.all_tasks()) == 1


async def test_closing_does_not_wait_for_slow_calls():
    """A call that is still being served does not hold up the end."""
    async with aiohttp.ClientSession() as session:
        async with Workspace() as ws:
            ws.faults.delay("auth.test", 60)
            headers = {"Authorization": f"Bearer {ws.bot_token}"}
            waiting = asyncio.create_task(session.post(ws.api_url + "auth.test", headers=headers))
            await asyncio.sleep(0.05)
            before = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - before < 15
        with pytest.raises(aiohttp.ClientError):
            await waiting


async def test_taken_port():
    """A port in use is an error at the start, and leaves nothing open."""
    async with Workspace() as ws:
        port = int(ws.url.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)):
            await Workspace(port=port).__aenter__()


async def test_a_workspace_opens_once():
    """A closed workspace is not opened again."""
    ws = Workspace()
    async with ws:
        pass
    with pytest.raises(RuntimeError, match="opened already"):
        await ws.__aenter__()


async def test_socket_mode_that_is_off_says_so(ws, app, http, until):
    """Switching Socket Mode off ends every connection with `link_disabled`, and a new one gets nothing else."""
    await ws.switch_socket_mode(on=False)
    await until(lambda: app.goodbyes)
    assert app.goodbyes[-1]["reason"] == "link_disabled"
    socket = await app.connect()
    assert (app.goodbyes[-1]["reason"], ws.connections) == ("link_disabled", 0)
    await socket.close()


async def test_the_app_token_needs_its_scope(ws, api):
    """An app-level token without connections:write is refused by that name."""
    ws.app_scopes.clear()
    answer = await api("apps.connections.open", token=ws.app_token)
    assert (answer.error, answer.needed) == ("missing_scope", "connections:write")
