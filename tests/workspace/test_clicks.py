"""block_actions: who may click, what the payload says, what its response_url may do."""

import asyncio

import pytest

from oombot.workspace import NotAllowedError, NotOnScreenError, seed


@pytest.fixture
def card(post, kit):
    """Post a message with one button and return its ts."""

    async def make(**more):
        return (await post(**{"text": "card", "blocks": [kit.actions], **more})).ts

    return make


async def test_every_field(ws, app, card):
    """A click carries every documented field."""
    ts = await card(metadata={"event_type": "oom", "event_payload": {"id": "i1"}})
    assert await ws.click(seed.BEN, "oncall", ts, "go")
    (envelope,) = app.envelopes
    payload = envelope["payload"]
    assert (envelope["type"], envelope["accepts_response_payload"]) == ("interactive", False)
    assert payload["type"] == "block_actions"
    assert payload["team"] == {"id": seed.TEAM.id, "domain": "acme"}
    assert payload["user"] == {"id": seed.BEN, "username": "ben", "name": "ben", "team_id": seed.TEAM.id}
    assert payload["container"] == {
        "type": "message",
        "message_ts": ts,
        "channel_id": seed.ONCALL,
        "is_ephemeral": False,
    }
    assert payload["channel"] == {"id": seed.ONCALL, "name": "oncall"}
    assert (payload["api_app_id"], payload["state"]) == (seed.APP_ID, {"values": {}})
    assert payload["message"]["ts"] == ts
    assert "metadata" not in payload["message"]
    assert payload["response_url"].startswith(f"{ws.url}/actions/")
    assert payload["trigger_id"]
    assert payload["token"]
    (action,) = payload["actions"]
    assert action.items() >= {"type": "button", "action_id": "go", "block_id": "row", "value": "1"}.items()
    assert float(action["action_ts"]) > float(ts)


async def test_anyone_who_sees_it_may_click(ws, app, card):
    """Guests and people of another team may click; their team_id tells."""
    ts = await card()
    for person in (seed.CLEO, seed.GUEST, seed.STRANGER):
        assert await ws.click(person, "oncall", ts, "go")
    teams = [e["payload"]["user"]["team_id"] for e in app.envelopes]
    assert teams == [seed.TEAM.id, seed.TEAM.id, seed.FOREIGN_TEAM.id]
    assert app.envelopes[2]["payload"]["team"]["id"] == seed.TEAM.id


async def test_clicks_are_not_serialised(ws, app, card):
    """Two people may press the same button at the same time, and one person twice."""
    ts = await card()
    await asyncio.gather(*(ws.click(person, "oncall", ts, "go") for person in (seed.ADA, seed.BEN, seed.BEN)))
    assert len({e["payload"]["trigger_id"] for e in app.envelopes}) == 3


async def test_silence_is_noticed(ws, app, card):
    """A click without ack is reported to the person, and not sent again."""
    app.answer = lambda _envelope: None
    assert not await ws.click(seed.ADA, "oncall", await card(), "go")
    assert len(app.envelopes) == 1


async def test_url_button_sends_a_payload_too(ws, app, post, kit):
    """A button with a url is also an interaction."""
    button = {**kit.button, "url": "https://example.com/runbook"}
    ts = (await post(text="x", blocks=[{"type": "actions", "elements": [button]}])).ts
    assert await ws.click(seed.ADA, "oncall", ts, "go")
    assert app.envelopes[0]["payload"]["actions"][0]["url"] == "https://example.com/runbook"


async def test_button_in_an_attachment(ws, app, post, kit):
    """A button inside an attachment says so in the container."""
    ts = (await post(text="x", attachments=[{"color": "danger", "blocks": [kit.actions]}])).ts
    await ws.click(seed.ADA, "oncall", ts, "go")
    assert app.envelopes[0]["payload"]["container"]["type"] == "message_attachment"


@pytest.mark.parametrize(("action", "value"), [("stop", None), ("go", "2")])
async def test_missing_button(ws, app, card, action, value):
    """What is not on the screen cannot be pressed."""
    ts = await card()
    with pytest.raises(NotOnScreenError):
        await ws.click(seed.ADA, "oncall", ts, action, value)


async def test_missing_message(ws, app):
    """There is nothing to press in a message that does not exist."""
    with pytest.raises(NotOnScreenError):
        await ws.click(seed.ADA, "oncall", "1.000000", "go")


async def test_removed_button(ws, api, app, card):
    """Once an edit removed the buttons nobody can press them."""
    ts = await card()
    await api("chat.update", channel=seed.ONCALL, ts=ts, text="done")
    with pytest.raises(NotOnScreenError):
        await ws.click(seed.ADA, "oncall", ts, "go")


async def test_same_action_in_two_blocks(ws, app, post, kit):
    """value or block_id choose between equal actions."""
    other = {**kit.actions, "block_id": "row2", "elements": [{**kit.button, "value": "2"}]}
    ts = (await post(text="x", blocks=[kit.actions, other])).ts
    await ws.click(seed.ADA, "oncall", ts, "go", "2")
    await ws.click(seed.ADA, "oncall", ts, "go", block_id="row2")
    assert [e["payload"]["actions"][0]["value"] for e in app.envelopes] == ["2", "2"]


def options(kit, *values):
    return [{"text": kit.plain(value), "value": value} for value in values]


@pytest.mark.parametrize(
    ("kind", "value", "part", "chosen"),
    [
        ("overflow", "b", "selected_option", "b"),
        ("static_select", "a", "selected_option", "a"),
        ("radio_buttons", "b", "selected_option", "b"),
        ("checkboxes", ["a", "b"], "selected_options", ["a", "b"]),
    ],
)
async def test_menus(ws, app, post, kit, kind, value, part, chosen):  # noqa: PLR0917 (fixtures)
    """Menus send the options chosen."""
    element = {"type": kind, "action_id": "pick", "options": options(kit, "a", "b")}
    ts = (await post(text="x", blocks=[{"type": "actions", "elements": [element]}])).ts
    await ws.click(seed.ADA, "oncall", ts, "pick", value)
    got = app.envelopes[0]["payload"]["actions"][0][part]
    assert chosen == ([one["value"] for one in got] if isinstance(got, list) else got["value"])
    with pytest.raises(NotAllowedError):
        await ws.click(seed.ADA, "oncall", ts, "pick", ["z"] if kind == "checkboxes" else "z")


async def test_state_of_menus(ws, app, post, kit):
    """A click also tells what the message's menus hold."""
    first, second = options(kit, "a", "b")
    menu = {
        "type": "static_select",
        "action_id": "pick",
        "options": [first, second],
        "initial_option": second,
    }
    blocks = [kit.actions, {"type": "actions", "block_id": "menus", "elements": [menu]}]
    ts = (await post(text="x", blocks=blocks)).ts
    await ws.click(seed.ADA, "oncall", ts, "go")
    held = app.envelopes[0]["payload"]["state"]["values"]["menus"]["pick"]
    assert held == {"type": "static_select", "selected_option": second}


@pytest.fixture
def respond(app, http):
    """Answer the newest click through its response_url."""

    async def send(**body):
        async with http.post(app.envelopes[-1]["payload"]["response_url"], json=body) as answer:
            return answer.status

    return send


async def test_replace_original(ws, app, card, respond):
    """replace_original edits the message clicked."""
    ts = await card()
    await ws.click(seed.ADA, "oncall", ts, "go")
    assert await respond(text="done", replace_original=True) == 200
    (message,) = ws.messages("oncall")
    assert (message["ts"], message["text"], "blocks" in message) == (ts, "done", False)


async def test_delete_original(ws, app, card, respond):
    """delete_original removes the message clicked."""
    await ws.click(seed.ADA, "oncall", await card(), "go")
    await respond(delete_original=True)
    assert ws.messages("oncall") == []


async def test_response_beside_the_original(ws, app, card, respond):
    """Without replace_original the response is a new ephemeral message."""
    await ws.click(seed.ADA, "oncall", await card(), "go")
    await respond(text="only you", replace_original=False)
    assert len(ws.messages("oncall")) == 1
    assert [m["text"] for m in ws.ephemerals(seed.ADA)] == ["only you"]


@pytest.fixture
def whisper(api, kit):
    """Post an ephemeral message with a button to Ada and return its ts."""

    async def make():
        body = {"channel": seed.ONCALL, "user": seed.ADA, "text": "psst", "blocks": [kit.actions]}
        return (await api("chat.postEphemeral", **body)).message_ts

    return make


async def test_click_in_an_ephemeral_message(ws, app, whisper):
    """Its one reader may click; the payload says so and carries no message."""
    ts = await whisper()
    assert await ws.click(seed.ADA, "oncall", ts, "go")
    payload = app.envelopes[0]["payload"]
    assert payload["container"]["is_ephemeral"]
    assert "message" not in payload
    with pytest.raises(NotOnScreenError):
        await ws.click(seed.BEN, "oncall", ts, "go")


async def test_ephemeral_stays_ephemeral(ws, app, whisper, respond):
    """Replacing an ephemeral message never makes it public."""
    ts = await whisper()
    await ws.click(seed.ADA, "oncall", ts, "go")
    assert await respond(text="changed", replace_original=True, response_type="in_channel") == 200
    assert ws.messages("oncall") == []
    assert [(m["ts"], m["text"]) for m in ws.ephemerals(seed.ADA)] == [(ts, "changed")]


async def test_ephemeral_can_be_taken_away(ws, app, whisper, respond):
    """delete_original works for an ephemeral message, once."""
    await ws.click(seed.ADA, "oncall", await whisper(), "go")
    assert await respond(delete_original=True) == 200
    assert ws.ephemerals(seed.ADA) == []
    assert await respond(text="x", replace_original=True) == 400
