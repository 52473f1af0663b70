"""Slash commands and what may be done through their response_url."""

import pytest

from oombot.workspace import NotOnScreenError, seed


async def test_every_field(ws, app):
    """The payload of a slash command carries every documented field."""
    await ws.slash(seed.BEN, "oncall", "/oom host42 since 2h")
    (envelope,) = app.envelopes
    payload = envelope["payload"]
    assert (
        payload.items()
        >= {
            "team_id": seed.TEAM.id,
            "team_domain": "acme",
            "channel_id": seed.ONCALL,
            "channel_name": "oncall",
            "user_id": seed.BEN,
            "user_name": "ben",
            "command": "/oom",
            "text": "host42 since 2h",
            "api_app_id": seed.APP_ID,
            "is_enterprise_install": "false",
        }.items()
    )
    assert payload["token"]
    assert payload["trigger_id"]
    assert payload["response_url"].startswith(ws.url)


async def test_silence_is_a_timeout(ws, app):
    """Without an ack the person sees operation_timeout."""
    app.answer = lambda _envelope: None
    seen = await ws.slash(seed.ADA, "oncall", "/oom")
    assert seen["text"] == '/oom failed with the error "operation_timeout"'
    assert [m["ts"] for m in ws.ephemerals(seed.ADA)] == [seen["ts"]]


async def test_no_app(ws):
    """With no socket open the command cannot be dispatched."""
    assert "dispatch_failed" in (await ws.slash(seed.ADA, "oncall", "/oom"))["text"]


async def test_answer_is_ephemeral_by_default(ws, app):
    """A message in the ack is shown to the person alone."""
    app.answer = lambda _envelope: {"text": "hi"}
    assert (await ws.slash(seed.ADA, "oncall", "/oom"))["text"] == "hi"
    assert [m["text"] for m in ws.ephemerals(seed.ADA)] == ["hi"]
    assert ws.messages("oncall") == []


async def test_in_channel_shows_the_command_too(ws, app):
    """An in_channel answer also shows what was typed."""
    app.answer = lambda _envelope: {"text": "hi", "response_type": "in_channel"}
    await ws.slash(seed.ADA, "oncall", "/oom host42")
    assert [(m["user"], m["text"]) for m in ws.messages("oncall")] == [
        (seed.ADA, "/oom host42"),
        (seed.BOT_USER, "hi"),
    ]


async def test_bare_ack_shows_nothing(ws, app):
    """An ack without a payload shows nothing."""
    assert await ws.slash(seed.ADA, "oncall", "/oom") is None
    assert ws.ephemerals(seed.ADA) == []


async def test_answer_must_be_valid(ws, app):
    """Invalid blocks in the ack are an invalid_command_response."""
    app.answer = lambda _envelope: {"text": "x", "blocks": [{"type": "marquee"}]}
    assert "invalid_command_response" in (await ws.slash(seed.ADA, "oncall", "/oom"))["text"]


async def test_not_in_threads(ws, app, post):
    """Slash commands do not work in a thread."""
    parent = (await post(text="x")).ts
    seen = await ws.slash(seed.ADA, "oncall", "/oom", thread_ts=parent)
    assert seen["text"] == "/oom is not supported in threads. Sorry!"
    assert app.envelopes == []


async def test_unknown_command(ws, app):
    """A command nobody registered never reaches the app."""
    assert (await ws.slash(seed.ADA, "oncall", "/moo"))["text"] == "/moo is not a valid command."
    assert app.envelopes == []


async def test_archived_channel(ws, app):
    """Nothing happens in an archived channel."""
    assert "archived" in (await ws.slash(seed.ADA, "old-alerts", "/oom"))["text"]


async def test_people_only_use_channels_they_see(ws):
    """A guest does not see a channel without membership."""
    with pytest.raises(NotOnScreenError):
        await ws.slash(seed.GUEST, "general", "/oom")


@pytest.fixture
def respond(http):
    """Send a body to a response_url and return status and text."""

    async def send(url, **body):
        async with http.post(url, json=body) as answer:
            return answer.status, await answer.text()

    return send


@pytest.fixture
def response_url(ws, app):
    """Return the response_url of a fresh slash command."""

    async def make(channel="oncall", user=seed.ADA):
        await ws.slash(user, channel, "/oom")
        return app.envelopes[-1]["payload"]["response_url"]

    return make


async def test_response_url_is_ephemeral_by_default(ws, respond, response_url):
    """A response without a type is shown to the person alone."""
    assert await respond(await response_url(), text="later") == (200, "ok")
    assert [m["text"] for m in ws.ephemerals(seed.ADA)] == ["later"]


async def test_response_url_works_where_the_bot_is_not(ws, respond, response_url):
    """Through a response_url the bot posts even in a private channel without it."""
    await respond(await response_url("secret"), text="later", response_type="in_channel")
    assert [m["text"] for m in ws.messages("secret")] == ["later"]


async def test_response_url_five_times(respond, response_url):
    """The sixth use is refused."""
    url = await response_url()
    statuses = [(await respond(url, text="x"))[0] for _ in range(6)]
    assert statuses == [200] * 5 + [404]
    assert "used_url" in (await respond(url, text="x"))[1]


async def test_response_url_for_half_an_hour(respond, response_url, clock):
    """After 30 minutes the url has expired."""
    url = await response_url()
    clock.move(1801)
    status, text = await respond(url, text="x")
    assert (status, "expired_url" in text) == (404, True)


async def test_response_url_unknown(ws, respond):
    """An invented url is unknown."""
    assert (await respond(f"{ws.url}/commands/T1/nothing", text="x"))[0] == 404


@pytest.mark.parametrize(
    "body", [{}, {"text": "x", "blocks": [{"type": "marquee"}]}, {"delete_original": True}]
)
async def test_response_url_refuses_bad_messages(respond, response_url, body):
    """Empty and invalid messages are refused, and a slash command has no original to delete."""
    assert (await respond(await response_url(), **body))[0] == 400


async def test_response_in_a_thread(ws, post, respond, response_url):
    """thread_ts puts a response into a thread."""
    parent = (await post(text="x")).ts
    url = await response_url()
    await respond(url, text="r", response_type="in_channel", thread_ts=parent, replace_original=False)
    assert ws.messages("oncall")[1]["thread_ts"] == parent


async def test_response_url_takes_json_only(http, response_url):
    """A response that is no JSON object is refused."""
    url = await response_url()
    for data in (b"x", b"3"):
        async with http.post(url, data=data, headers={"Content-Type": "application/json"}) as answer:
            assert answer.status == 400
