"""What people do in Slack reaches the desk, is acknowledged at once and answered to them alone."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from structlog.testing import capture_logs

from oombot.adapters.slack import SlackChat
from oombot.adapters.slack_listeners import SlackListeners
from oombot.engine.desk import Desk
from oombot.engine.visits import Visit
from oombot.errors import ChatError, ConfigError, UnknownHostError
from oombot.model import Json
from oombot.proposals import Person
from oombot.workspace import Workspace, seed
from oombot.workspace.block_kit import checked_view
from oombot.workspace.views import push

PAYLOADS = Path(__file__).parent / "payloads"
KINDS = [
    "slash_command",
    "block_actions_message",
    "block_actions_ephemeral",
    "block_actions_view",
    "view_submission",
]
# what makes a payload what it is; Slack always sends it, and Bolt routes by it
NEEDED = {"type", "command", "actions", "view"}
ADA = Person(user_id=seed.ADA, team_id=seed.TEAM.id, name="ada")
BEN = Person(user_id=seed.BEN, team_id=seed.TEAM.id, name="ben")


def view(words: str) -> Json:
    """A message of one sentence."""
    section = {"type": "section", "text": {"type": "mrkdwn", "text": words, "verbatim": True}}
    return {"text": words, "blocks": [section]}


MODAL: Json = {
    "type": "modal",
    "callback_id": "fix",
    "private_metadata": "host42||C0ONCALL1",
    "title": {"type": "plain_text", "text": "Fix"},
    "submit": {"type": "plain_text", "text": "Propose"},
    "blocks": [
        {
            "type": "input",
            "block_id": "value",
            "label": {"type": "plain_text", "text": "Value"},
            "element": {"type": "plain_text_input", "action_id": "value"},
        }
    ],
}


class FakeDesk:
    """Keeps what it is told; does what the test wants done with each visit."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.visits: list[Visit] = []
        self.says: list[Callable[[str, Json], Awaitable[None]]] = []
        self.errors: Json = {}
        self.fails: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.done = 0
        self.act: Callable[[Visit], Awaitable[None]] = self._nothing

    async def command(self, visit: Visit, text: str) -> None:
        await self._take(visit, "command", visit.person, visit.channel_id, text)

    async def press(self, visit: Visit, action_id: str, value: str) -> None:
        await self._take(visit, "press", visit.person, visit.channel_id, action_id, value)

    async def submit(self, person: Person, private: str, values: Json, say_in: Any) -> Json:
        self.calls.append(("submit", person, private, dict(values)))
        self.says.append(say_in)
        if self.fails is not None:
            raise self.fails
        return self.errors

    async def _take(self, visit: Visit, *call: Any) -> None:
        self.calls.append(call)
        self.visits.append(visit)
        await self.gate.wait()
        await self.act(visit)
        self.done += 1

    @staticmethod
    async def _nothing(visit: Visit) -> None:
        pass


async def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait until something holds, and return it."""
    async with asyncio.timeout(seconds):
        while not (found := true()):  # noqa: ASYNC110 (any condition)
            await asyncio.sleep(0.005)
    return found


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


@pytest.fixture
def desk() -> FakeDesk:
    """A desk that only listens."""
    return FakeDesk()


def listeners_of(chat: SlackChat, desk: Any, app_token: str) -> SlackListeners:
    """Listeners with pings quick enough for a test."""
    listeners = SlackListeners(chat, desk, app_token=app_token)
    listeners._handler.client.ping_interval = 0.4
    return listeners


@pytest.fixture
async def deaf(ws: Workspace, chat: SlackChat, desk: FakeDesk) -> AsyncIterator[SlackListeners]:
    """Listeners without a socket: the test hands payloads to Bolt itself."""
    made = listeners_of(chat, desk, ws.app_token)
    yield made
    await made.__aexit__(None, None, None)


@pytest.fixture
async def connected(ws: Workspace, chat: SlackChat, desk: FakeDesk) -> AsyncIterator[SlackListeners]:
    """Listeners on Socket Mode."""
    async with listeners_of(chat, desk, ws.app_token) as made:
        yield made


def payload(kind: str, **changes: Any) -> dict[str, Any]:
    """A documented payload, with some fields changed."""
    body: dict[str, Any] = json.loads((PAYLOADS / f"{kind}.json").read_text())
    return body | changes


async def dispatch(listeners: SlackListeners, body: dict[str, Any]) -> BoltResponse:
    """Hand a payload to Bolt as the socket does; the answer is the acknowledgement."""
    request = AsyncBoltRequest(body=body, mode="socket_mode")
    return await listeners._app.async_dispatch(request)


def url_for(ws: Workspace, person: str, ts: str | None = None, *, alone: bool = False) -> str:
    """A response_url as a command or a click in #oncall gets it."""
    kind = "commands" if ts is None else "actions"
    return ws._state.new_response_url(kind, seed.ONCALL, person, message_ts=ts, is_ephemeral=alone)


def test_the_desk_of_these_tests_is_a_desk() -> None:
    """The fake takes what the real desk takes."""
    for name in ("command", "press", "submit"):
        assert (
            getattr(FakeDesk, name).__code__.co_varnames[:3] == getattr(Desk, name).__code__.co_varnames[:3]
        )


# ------------------------------------------------------------------ who, where, what


async def test_command(deaf: SlackListeners, desk: FakeDesk) -> None:
    """A command brings its person, their team, the channel and the text as typed."""
    answer = await dispatch(deaf, payload("slash_command"))
    assert (answer.status, answer.body) == (200, "")
    assert desk.calls == [("command", ADA, seed.ONCALL, "host42 since 2h")]


@pytest.mark.parametrize("text", ["", "<http://host42|host42>", "a\x00b", "\u202eevil", "x" * 4000])
async def test_command_text_is_not_touched(deaf: SlackListeners, desk: FakeDesk, text: str) -> None:
    """The text may hold anything; the desk gets it as it is."""
    assert (await dispatch(deaf, payload("slash_command", text=text))).status == 200
    assert desk.calls[0][-1] == text


async def test_press(deaf: SlackListeners, desk: FakeDesk) -> None:
    """A button of a message brings the person who pressed, the action and its value."""
    answer = await dispatch(deaf, payload("block_actions_message"))
    assert (answer.status, answer.body) == (200, "")
    assert desk.calls == [("press", BEN, seed.ONCALL, "approve", "request-0001")]


async def test_press_in_an_ephemeral_message(deaf: SlackListeners, desk: FakeDesk) -> None:
    """A button of an ephemeral answer, which has no message in its payload, does the same."""
    assert (await dispatch(deaf, payload("block_actions_ephemeral"))).status == 200
    assert desk.calls == [("press", ADA, seed.ONCALL, "share", "ask-0001")]


async def test_press_of_a_stranger(deaf: SlackListeners, desk: FakeDesk) -> None:
    """Somebody of another workspace comes with their own team, not with the app's."""
    stranger = {"id": seed.STRANGER, "username": "stan", "name": "stan", "team_id": seed.FOREIGN_TEAM.id}
    await dispatch(deaf, payload("block_actions_message", user=stranger))
    assert desk.calls[0][1] == Person(user_id=seed.STRANGER, team_id=seed.FOREIGN_TEAM.id, name="stan")


async def test_an_unknown_button_reaches_the_desk(deaf: SlackListeners, desk: FakeDesk) -> None:
    """A button of an old version is not swallowed: the desk answers it."""
    body = payload("block_actions_message")
    body["actions"][0] |= {"action_id": "reboot\nnow", "value": "everything"}
    assert (await dispatch(deaf, body)).status == 200
    assert desk.calls == [("press", BEN, seed.ONCALL, "reboot\nnow", "everything")]


async def test_two_actions_at_once(deaf: SlackListeners, desk: FakeDesk) -> None:
    """A payload of two actions, which no person can make, is acknowledged and does nothing."""
    body = payload("block_actions_message")
    body["actions"] *= 2
    assert (await dispatch(deaf, body)).status == 200
    await asyncio.sleep(0.05)
    assert desk.calls == []


async def test_no_button(deaf: SlackListeners, desk: FakeDesk) -> None:
    """A menu is acknowledged and does nothing: all decisions are buttons."""
    body = payload("block_actions_message")
    body["actions"][0]["type"] = "static_select"
    assert (await dispatch(deaf, body)).status == 200
    await asyncio.sleep(0.05)
    assert desk.calls == []


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize("kind", KINDS)
async def test_fields_that_may_be_missing(
    deaf: SlackListeners, desk: FakeDesk, kind: str, gone: bool
) -> None:
    """Each field that is optional may be absent or null: the desk is asked all the same, and Slack gets its ack."""
    always_a_list = set() if gone else {"response_urls"}
    for name in sorted(set(payload(kind)) - NEEDED - always_a_list):
        body = payload(kind, **{name: None})
        if gone:
            del body[name]
        desk.calls.clear()
        answer = await dispatch(deaf, body)
        assert (name, answer.status, len(desk.calls)) == (name, 200, 1)


async def test_a_press_without_channel(deaf: SlackListeners, desk: FakeDesk) -> None:
    """The container names the channel too; without both the channel is empty, not wrong."""
    body = payload("block_actions_message")
    del body["channel"]
    await dispatch(deaf, body)
    del body["container"]
    await dispatch(deaf, body)
    assert [call[2] for call in desk.calls] == [seed.ONCALL, ""]


async def test_a_press_without_team(deaf: SlackListeners, desk: FakeDesk) -> None:
    """Where the user carries no team the payload's counts, and without both there is none."""
    body = payload("block_actions_message")
    del body["user"]["team_id"]
    await dispatch(deaf, body)
    await dispatch(deaf, body | {"team": None})
    assert [call[1].team_id for call in desk.calls] == [seed.TEAM.id, ""]


async def test_a_button_without_value(deaf: SlackListeners, desk: FakeDesk) -> None:
    """A button may have no value."""
    body = payload("block_actions_message")
    del body["actions"][0]["value"]
    await dispatch(deaf, body)
    assert desk.calls[0][-1] == ""


# ------------------------------------------------------------------ acknowledged at once


@pytest.mark.parametrize("kind", KINDS[:3])
async def test_acknowledged_before_the_desk_is_done(deaf: SlackListeners, desk: FakeDesk, kind: str) -> None:
    """The ack does not wait for the desk, which may wait for a host."""
    desk.gate.clear()
    async with asyncio.timeout(20):
        assert (await dispatch(deaf, payload(kind))).status == 200
    assert (len(desk.calls), desk.done) == (1, 0)
    desk.gate.set()
    await until(lambda: desk.done)


async def test_a_desk_that_fails_was_acknowledged(deaf: SlackListeners, desk: FakeDesk) -> None:
    """A fault right behind the ack is logged and takes no ack back; the next press is served."""

    async def fail(_visit: Visit) -> None:
        raise KeyError("fault")

    desk.act = fail
    with capture_logs() as logs:
        assert (await dispatch(deaf, payload("block_actions_message"))).status == 200
        assert (await dispatch(deaf, payload("slash_command"))).status == 200
    assert len(desk.calls) == 2
    assert [line["event"] for line in logs] == ["desk_failed"] * 2


async def test_the_first_press_needs_nothing_of_slack(
    ws: Workspace, deaf: SlackListeners, desk: FakeDesk
) -> None:
    """The first press is served although auth.test is down: who we are was asked at open."""
    ws.faults.fail("auth.test", times=9)
    ws.faults.delay("auth.test", 30)
    async with asyncio.timeout(20):
        answer = await dispatch(deaf, payload("block_actions_message"))
    assert (answer.status, answer.body, len(desk.calls)) == (200, "", 1)


# ------------------------------------------------------------------ the answer


async def test_answer_of_a_command(ws: Workspace, deaf: SlackListeners, desk: FakeDesk) -> None:
    """The answer goes through the response_url to the person alone."""
    desk.act = lambda visit: visit.say(view("fine"), False)
    await dispatch(deaf, payload("slash_command", response_url=url_for(ws, seed.ADA)))
    await until(lambda: desk.done)
    [shown] = ws.ephemerals(seed.ADA)
    assert (shown["text"], shown["blocks"][0]["text"]["text"]) == ("fine", "fine")
    assert ws.ephemerals(seed.BEN) == ws.messages("oncall") == []


async def test_answer_where_the_bot_is_no_member(ws: Workspace, deaf: SlackListeners, desk: FakeDesk) -> None:
    """A response_url answers in a channel that the bot was never invited to."""
    desk.act = lambda visit: visit.say(view("fine"), False)
    url = ws._state.new_response_url("commands", seed.PRIVATE, seed.ADA)
    await dispatch(deaf, payload("slash_command", response_url=url, channel_id=seed.PRIVATE))
    await until(lambda: desk.done)
    assert [shown["channel"] for shown in ws.ephemerals(seed.ADA)] == [seed.PRIVATE]


async def test_answer_of_a_press_leaves_the_message(
    ws: Workspace, chat: SlackChat, deaf: SlackListeners, desk: FakeDesk
) -> None:
    """An answer to a press stands beside the message, for the one who pressed."""
    _, ts = await chat.post("oncall", view("card"), key="k", version=1, thread_ts=None)
    desk.act = lambda visit: visit.say(view("not yours to approve"), False)
    await dispatch(deaf, payload("block_actions_message", response_url=url_for(ws, seed.BEN, ts)))
    await until(lambda: desk.done)
    assert [m["text"] for m in ws.ephemerals(seed.BEN)] == ["not yours to approve"]
    assert [m["text"] for m in ws.messages("oncall")] == ["card"]


async def test_answer_in_place_of_an_ephemeral(ws: Workspace, deaf: SlackListeners, desk: FakeDesk) -> None:
    """A late answer takes the place of the ephemeral one before."""
    before = ws._state.timeline.add_ephemeral(seed.ADA, seed.ONCALL, dict(view("asking…")))
    url = url_for(ws, seed.ADA, before["ts"], alone=True)
    desk.act = lambda visit: visit.say(view("answer"), True)
    await dispatch(deaf, payload("block_actions_ephemeral", response_url=url))
    await until(lambda: desk.done)
    assert [(m["text"], m["ts"]) for m in ws.ephemerals(seed.ADA)] == [("answer", before["ts"])]


async def test_more_answers_than_a_response_url_takes(
    ws: Workspace, deaf: SlackListeners, desk: FakeDesk
) -> None:
    """After the five uses of a response_url the answer comes as chat.postEphemeral: none is lost."""

    async def talk(visit: Visit) -> None:
        for number in range(7):
            await visit.say(view(str(number)), False)

    desk.act = talk
    await dispatch(deaf, payload("slash_command", response_url=url_for(ws, seed.ADA)))
    await until(lambda: desk.done)
    assert [m["text"] for m in ws.ephemerals(seed.ADA)] == list("0123456")


@pytest.mark.parametrize(
    "url", ["", None, "spent", "http://127.0.0.1:1/actions/T/x", "no url at all", "ftp://x/y"]
)
async def test_a_response_url_that_does_not_work(
    ws: Workspace, deaf: SlackListeners, desk: FakeDesk, url: str | None
) -> None:
    """Without a working response_url the answer comes as chat.postEphemeral."""
    if url == "spent":
        url = url_for(ws, seed.BEN)
        ws.faults.spend_response_urls()
    desk.act = lambda visit: visit.say(view("here"), True)
    await dispatch(deaf, payload("block_actions_message", response_url=url))
    await until(lambda: desk.done)
    assert [(m["text"], m["channel"]) for m in ws.ephemerals(seed.BEN)] == [("here", seed.ONCALL)]


async def test_an_answer_that_can_not_be_shown(ws: Workspace, deaf: SlackListeners, desk: FakeDesk) -> None:
    """When neither way works, the log has the reason and the fix, and the desk is not disturbed."""
    desk.act = lambda visit: visit.say(view("nobody sees this"), False)
    body = payload("slash_command", response_url="", channel_id=seed.ELSEWHERE)
    with capture_logs() as logs:
        await dispatch(deaf, body)
        await until(lambda: desk.done)
    [line] = [line for line in logs if line["event"] == "answer_not_shown"]
    assert line["user"] == seed.ADA
    assert "/invite" in line["fix"]


async def test_an_answer_after_the_end(ws: Workspace, desk: FakeDesk) -> None:
    """An answer that comes when the bot has closed Slack is logged, not raised."""
    async with SlackChat(token=ws.bot_token, api_url=ws.api_url) as chat:
        listeners = listeners_of(chat, desk, ws.app_token)
        await dispatch(listeners, payload("slash_command", response_url=url_for(ws, seed.ADA)))
        await listeners.__aexit__(None, None, None)
    with capture_logs() as logs:
        await desk.visits[0].say(view("too late"), False)
    assert [line["event"] for line in logs] == ["answer_not_shown"]


async def test_secrets_stay_out_of_the_log(ws: Workspace, deaf: SlackListeners, desk: FakeDesk) -> None:
    """What is logged of a failed answer has no token, no response_url and no trigger."""
    url = url_for(ws, seed.ADA)
    ws.faults.spend_response_urls()
    ws.faults.fail("chat.postEphemeral", "user_not_in_channel")
    desk.act = lambda visit: visit.say(view("x"), False)
    with capture_logs() as logs:
        await dispatch(deaf, payload("slash_command", response_url=url))
        await until(lambda: desk.done)
    text = repr(logs)
    assert "user_not_in_channel" in text
    assert not [secret for secret in (url, ws.bot_token, ws.app_token, "9876543210.") if secret in text]


# ------------------------------------------------------------------ the form


async def test_submit(deaf: SlackListeners, desk: FakeDesk) -> None:
    """A submitted form brings the person, what was hidden in it and its fields by block id."""
    answer = await dispatch(deaf, payload("view_submission"))
    assert (answer.status, answer.body) == (200, "")
    values = {"process": "4242:42420", "value": "500"}
    assert desk.calls == [("submit", ADA, "host42|incident-0001|C0ONCALL1", values)]


async def test_submit_with_errors(deaf: SlackListeners, desk: FakeDesk) -> None:
    """What is wrong with a field stands under it: the ack carries the errors and the form stays open."""
    desk.errors = {"value": "A whole number from -1000 to 1000."}
    answer = await dispatch(deaf, payload("view_submission"))
    assert answer.status == 200
    assert json.loads(answer.body) == {"response_action": "errors", "errors": desk.errors}


@pytest.mark.parametrize(
    "error", [UnknownHostError("No host named 'host42'.", fix="add it under hosts:"), ConfigError(["x"])]
)
async def test_submit_that_the_desk_refuses(deaf: SlackListeners, desk: FakeDesk, error: Exception) -> None:
    """A refusal that belongs to no field stands under the first one: no form ends in Slack's own error."""
    desk.fails = error
    answer = await dispatch(deaf, payload("view_submission"))
    assert answer.status == 200
    shown = json.loads(answer.body)
    assert list(shown["errors"]) == ["process"]
    assert str(error) in shown["errors"]["process"]


async def test_errors_that_belong_to_no_field(deaf: SlackListeners, desk: FakeDesk) -> None:
    """Slack refuses an answer that names a field it does not show: such errors stand under the first one."""
    desk.errors = {"value": "Not so.", "size": "Too large.", "": "No such remedy."}
    answer = await dispatch(deaf, payload("view_submission"))
    assert json.loads(answer.body)["errors"] == {"value": "Not so.", "process": "Too large. No such remedy."}


async def test_press_in_a_dialog(ws: Workspace, deaf: SlackListeners, desk: FakeDesk) -> None:
    """A button inside a dialog brings what the dialog hides, and the dialog can be changed without a trigger."""
    await dispatch(deaf, payload("block_actions_view"))
    assert desk.calls == [("press", ADA, "", "fix:swap_file", "swap_file")]
    assert desk.visits[0].private == '{"host":"host42","channel":"C0ONCALL1"}'
    opened = push(ws._state, seed.ADA, checked_view(dict(MODAL), kinds=("modal",), files=set()), fresh=True)
    body = payload("block_actions_view")
    body["view"]["id"] = opened["id"]
    await dispatch(deaf, body)
    await desk.visits[1].modal.update({**MODAL, "title": {"type": "plain_text", "text": "Filled"}})
    assert (ws.view(seed.ADA) or {})["title"]["text"] == "Filled"


async def test_submit_of_an_empty_form(deaf: SlackListeners, desk: FakeDesk) -> None:
    """Fields that nobody filled in are empty text."""
    body = payload("view_submission")
    body["view"]["state"]["values"]["process"]["process"]["selected_option"] = None
    body["view"]["state"]["values"]["value"]["value"]["value"] = None
    await dispatch(deaf, body)
    body["view"]["state"] = None
    body["view"]["private_metadata"] = None
    await dispatch(deaf, body)
    assert [call[2:] for call in desk.calls] == [
        ("host42|incident-0001|C0ONCALL1", {"process": "", "value": ""}),
        ("", {}),
    ]


async def test_the_plan_follows_the_form(ws: Workspace, deaf: SlackListeners, desk: FakeDesk) -> None:
    """What the desk says after a form is shown to the person in the channel where they began."""
    await dispatch(deaf, payload("view_submission"))
    await desk.says[0](seed.DB_ONCALL, view("proposed"))
    assert [(m["text"], m["channel"]) for m in ws.ephemerals(seed.ADA)] == [("proposed", seed.DB_ONCALL)]


# ------------------------------------------------------------------ Socket Mode


@pytest.mark.usefixtures("connected")
async def test_round_trip_of_a_command(ws: Workspace, desk: FakeDesk) -> None:
    """A command typed in Slack is answered to the person alone; Slack itself says nothing."""
    desk.act = lambda visit: visit.say(view("fine"), False)
    assert await ws.slash(seed.ADA, "oncall", "/oom host42") is None
    await until(lambda: ws.ephemerals(seed.ADA))
    assert [m["text"] for m in ws.ephemerals(seed.ADA)] == ["fine"]
    assert desk.calls == [("command", ADA, seed.ONCALL, "host42")]


@pytest.mark.usefixtures("connected")
async def test_round_trip_of_a_form(ws: Workspace, desk: FakeDesk) -> None:
    """A press opens a form, a wrong field keeps it open, a right one closes it."""

    async def ask(visit: Visit) -> None:
        await visit.modal.open(MODAL)
        await visit.modal.update({**MODAL, "title": {"type": "plain_text", "text": "Filled"}})

    desk.act = ask
    await ws.slash(seed.ADA, "oncall", "/oom fix host42")
    await until(lambda: (ws.view(seed.ADA) or {}).get("title", {}).get("text") == "Filled")
    desk.errors = {"value": "Not so."}
    assert await ws.submit(seed.ADA, {"value": "x"}) == {"value": "Not so."}
    desk.errors = {}
    assert await ws.submit(seed.ADA, {"value": "500"}) == {}
    assert ws.view(seed.ADA) is None
    assert desk.calls[-1] == ("submit", ADA, "host42||C0ONCALL1", {"value": "500"})


@pytest.mark.usefixtures("connected")
async def test_an_expired_trigger(ws: Workspace, desk: FakeDesk) -> None:
    """A form that comes too late is a ChatError for the desk."""
    caught: list[ChatError] = []

    async def ask(visit: Visit) -> None:
        try:
            await visit.modal.open(MODAL)
        except ChatError as error:
            caught.append(error)

    desk.act = ask
    ws.faults.expire_triggers()
    await ws.slash(seed.ADA, "oncall", "/oom fix host42")
    await until(lambda: caught)
    assert caught[0].code == "expired_trigger_id"


@pytest.mark.usefixtures("connected")
async def test_a_slow_desk_does_not_time_out(ws: Workspace, desk: FakeDesk) -> None:
    """A command whose host does not answer is acknowledged: Slack shows no timeout."""
    desk.gate.clear()
    assert await ws.slash(seed.ADA, "oncall", "/oom host42") is None
    assert ws.ephemerals(seed.ADA) == []


@pytest.mark.usefixtures("connected")
async def test_a_repeated_press_reaches_the_desk(ws: Workspace, chat: SlackChat, desk: FakeDesk) -> None:
    """A press that comes twice, by a double click or a lost ack, comes to the desk twice: the store decides."""
    card = {**view("card"), "blocks": [_actions("approve", "request-0001")]}
    _, ts = await chat.post("oncall", card, key="k", version=1, thread_ts=None)
    both = await asyncio.gather(*(ws.click(seed.BEN, "oncall", ts, "approve") for _ in range(2)))
    await until(lambda: len(desk.calls) == 2)
    assert both == [True, True]
    assert set(desk.calls) == {("press", BEN, seed.ONCALL, "approve", "request-0001")}
    body = payload("block_actions_message")
    await ws._hub.deliver("interactive", body)
    await ws._hub.deliver("interactive", body)
    await until(lambda: len(desk.calls) == 4)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.usefixtures("connected")
async def test_reconnect(ws: Workspace, desk: FakeDesk, announced: bool) -> None:
    """After Slack closes the socket, with or without a word, commands work again, each one once."""
    for number in range(2):
        await ws.faults.disconnect(announced=announced)
        await until(lambda: ws.connections)
        await ws.slash(seed.ADA, "oncall", f"/oom {number}")
    await until(lambda: len(desk.calls) == 2)
    assert [call[-1] for call in desk.calls] == ["0", "1"]
    assert ws.connections == 1


async def test_leaving(ws: Workspace, chat: SlackChat, desk: FakeDesk) -> None:
    """After the end no socket is left and nobody reconnects."""
    async with listeners_of(chat, desk, ws.app_token):
        await until(lambda: ws.connections)
    await until(lambda: not ws.connections)
    await asyncio.sleep(0.3)
    assert ws.connections == 0
    gc.collect()


@pytest.mark.parametrize(
    ("token", "code"), [("xapp-1-of-another-app", "invalid_auth"), ("bot", "not_allowed_token_type")]
)
async def test_a_wrong_app_token(
    ws: Workspace, chat: SlackChat, desk: FakeDesk, token: str, code: str
) -> None:
    """A wrong or swapped app token is told at once, with the way out; it is not tried for ever."""
    listeners = listeners_of(chat, desk, ws.bot_token if token == "bot" else token)
    async with asyncio.timeout(30):
        with pytest.raises(ChatError) as caught:
            await listeners.__aenter__()
    assert (caught.value.code, caught.value.temporary) == (code, False)
    assert "SLACK_APP_TOKEN" in caught.value.fix
    assert listeners._handler.client.aiohttp_client_session.closed
    gc.collect()


async def test_an_app_token_without_its_scope(ws: Workspace, chat: SlackChat, desk: FakeDesk) -> None:
    """An app token that may not open sockets names the scope it lacks."""
    ws.faults.fail("apps.connections.open", "missing_scope")
    with pytest.raises(ChatError) as caught:
        await listeners_of(chat, desk, ws.app_token).__aenter__()
    assert "connections:write" in caught.value.fix


async def test_no_socket_at_the_start(ws: Workspace, chat: SlackChat, desk: FakeDesk) -> None:
    """A start while Slack fails is a passing error, and nothing stays open."""
    ws.faults.fail("apps.connections.open", "fatal_error", status=503)
    with pytest.raises(ChatError) as caught:
        await listeners_of(chat, desk, ws.app_token).__aenter__()
    assert (caught.value.code, caught.value.temporary) == ("", True)
    gc.collect()


@pytest.mark.parametrize("when", ["at the start", "later"])
async def test_an_address_that_leads_nowhere(ws: Workspace, desk: FakeDesk, when: str) -> None:
    """A socket address that fails is not tried for ever: another is asked for, and commands work."""
    async with front(ws.api_url) as (url, dead), SlackChat(token=ws.bot_token, api_url=url) as chat:
        dead.extend(["first"] if when == "at the start" else [])
        async with listeners_of(chat, desk, ws.app_token):
            if when == "later":
                await until(lambda: ws.connections)
                dead.append("second")
                await ws.faults.disconnect()
            await until(lambda: ws.connections)
            assert dead == []
            await ws.slash(seed.ADA, "oncall", "/oom host42")
            await until(lambda: desk.calls)


@asynccontextmanager
async def front(api_url: str) -> AsyncIterator[tuple[str, list[str]]]:
    """The Web API, which hands out a socket address where nobody listens for each item of the list."""
    dead: list[str] = []

    async def forward(request: web.Request) -> web.Response:
        if request.match_info["method"] == "apps.connections.open" and dead:
            dead.pop()
            return web.json_response({"ok": True, "url": "ws://127.0.0.1:1/link/"})
        headers = {"Authorization": request.headers["Authorization"]}
        async with session.post(api_url + request.match_info["method"], headers=headers) as answer:
            return web.json_response(await answer.json())

    app = web.Application()
    app.add_routes([web.post("/api/{method}", forward)])
    runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/api/", dead
        await runner.cleanup()


def _actions(action_id: str, value: str) -> Json:
    text = {"type": "plain_text", "text": "Go"}
    return {
        "type": "actions",
        "elements": [{"type": "button", "action_id": action_id, "value": value, "text": text}],
    }
