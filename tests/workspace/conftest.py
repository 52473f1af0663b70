"""A fresh workspace per test, a clock that tests move, and two ways in: bare HTTP and a hand-made Socket Mode app."""

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from oombot.workspace import Workspace, seed


class Clock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 1_763_900_000.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


class App:
    """The bot's side of Socket Mode, by hand: answers each envelope with `answer(envelope)`; None means no ack."""

    def __init__(self, ws: Workspace, session: aiohttp.ClientSession) -> None:
        self.ws = ws
        self.session = session
        self.answer: Callable[[dict[str, Any]], Any] = lambda _envelope: {}
        self.hellos: list[dict[str, Any]] = []
        self.goodbyes: list[dict[str, Any]] = []
        self.envelopes: list[dict[str, Any]] = []
        self.counts: list[int] = []
        self.sockets: list[aiohttp.ClientWebSocketResponse] = []
        self.readers: list[asyncio.Task[None]] = []

    async def url(self) -> str:
        headers = {"Authorization": f"Bearer {self.ws.app_token}"}
        async with self.session.post(self.ws.api_url + "apps.connections.open", headers=headers) as answer:
            return str((await answer.json())["url"])

    async def connect(self) -> aiohttp.ClientWebSocketResponse:
        socket = await self.session.ws_connect(await self.url())
        number = len(self.sockets)
        self.sockets.append(socket)
        self.counts.append(0)
        first = await socket.receive_json()
        (self.hellos if first["type"] == "hello" else self.goodbyes).append(first)
        self.readers.append(asyncio.create_task(self._read(socket, number)))
        return socket

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, number: int) -> None:
        async for frame in socket:
            envelope = json.loads(frame.data)
            if envelope["type"] == "disconnect":
                self.goodbyes.append(envelope)
                continue
            self.counts[number] += 1
            self.envelopes.append(envelope)
            reply = self.answer(envelope)
            if reply is not None:
                await socket.send_json({"envelope_id": envelope["envelope_id"], "payload": reply})

    async def close(self) -> None:
        for socket in self.sockets:
            await socket.close()
        for reader in self.readers:
            reader.cancel()
        await asyncio.gather(*self.readers, return_exceptions=True)


async def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait until something holds, and return it."""
    async with asyncio.timeout(seconds):
        while not (found := true()):  # noqa: ASYNC110 (any condition)
            await asyncio.sleep(0.005)
    return found


@pytest.fixture(name="until")
def _until():
    return until


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def ws(clock):
    async with Workspace(
        clock=clock, ack_timeout_s=0.8, redelivery_delays_s=(0.0, 0.02, 0.04), post_burst=100
    ) as opened:
        yield opened


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def api(ws, http):
    """Call a method with JSON and the bot token; the answer carries its HTTP status and headers."""

    async def call(method, *, token=None, **arguments):
        headers = {"Authorization": f"Bearer {ws.bot_token if token is None else token}"}
        async with http.post(ws.api_url + method, json=arguments, headers=headers) as answer:
            return SimpleNamespace(status=answer.status, headers=answer.headers, **await answer.json())

    return call


@pytest.fixture
def post(api):
    """Post a message to #oncall and return the answer, which must be ok."""

    async def call(**content):
        answer = await api("chat.postMessage", **{"channel": seed.ONCALL, **content})
        assert answer.ok, answer
        return answer

    return call


@pytest.fixture
async def app(ws, http):
    """One hand-made app with one open socket."""
    made = App(ws, http)
    await made.connect()
    yield made
    await made.close()


def plain(words):
    return {"type": "plain_text", "text": words}


@pytest.fixture
def kit():
    """Small Block Kit values."""
    button = {"type": "button", "text": plain("Go"), "action_id": "go", "value": "1"}
    field = {
        "type": "input",
        "block_id": "why",
        "label": plain("Why"),
        "element": {"type": "plain_text_input", "action_id": "words", "max_length": 40},
    }
    return SimpleNamespace(
        plain=plain,
        button=button,
        actions={"type": "actions", "block_id": "row", "elements": [button]},
        section={"type": "section", "text": {"type": "mrkdwn", "text": "hello", "verbatim": True}},
        field=field,
        modal={"type": "modal", "title": plain("Title"), "submit": plain("Send"), "blocks": [field]},
    )


@pytest.fixture
def trigger(ws, app):
    """Return a fresh trigger id of Ada's, as an app gets it: from a slash command."""

    async def make(user=seed.ADA):
        await ws.slash(user, "oncall", "/oom")
        return app.envelopes[-1]["payload"]["trigger_id"]

    return make
