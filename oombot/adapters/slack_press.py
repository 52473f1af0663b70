"""The real press: a message with a button is posted, somebody presses it, and the message goes again."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from oombot.adapters.slack import FOREIGN
from oombot.adapters.slack_checks import HELLO_WITHIN_S, SlackChecks, hello_of
from oombot.doctor.gathered import Fault, PressFacts
from oombot.errors import ChatError
from oombot.model import Json

_SHARED = (
    "another oombot of this app is connected, and Slack would give the press to either",
    "stop that one, then: oombot doctor --slack-test; while it runs, pressing any of its buttons is the same proof",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A message with a button that carries `value`, and how long to wait for its press."""

    channel_id: str
    view: Json
    value: str
    wait_s: float
    waiting: Callable[[], None]  # called when the message stands


async def press(checks: SlackChecks, trial: Trial) -> PressFacts:
    """Post the message and wait until its button is pressed or the time is over.

    The connection is opened first and kept: nothing is posted where a press could go elsewhere.
    """
    try:
        async with asyncio.timeout(HELLO_WITHIN_S):
            socket = await checks.connect(await checks.socket_url())
    except (ChatError, *FOREIGN) as error:
        return PressFacts(fault=Fault(said=str(error) or type(error).__name__, fix=getattr(error, "fix", "")))
    async with socket:
        try:
            async with asyncio.timeout(HELLO_WITHIN_S):
                hello = hello_of(await socket.receive_json())
        except (*FOREIGN, TypeError) as error:
            return PressFacts(fault=Fault(said=f"Slack said no hello ({type(error).__name__})"))
        if hello.fault is not None:
            return PressFacts(fault=hello.fault)
        if (hello.connections or 1) > 1:
            return PressFacts(fault=Fault(said=_SHARED[0], fix=_SHARED[1], code="shared"))
        return await _posted(checks, socket, trial)


async def _posted(checks: SlackChecks, socket: aiohttp.ClientWebSocketResponse, trial: Trial) -> PressFacts:
    body = {"channel": trial.channel_id, "text": trial.view["text"], "blocks": trial.view["blocks"]}
    try:
        message = await checks.call("chat.postMessage", body, read=False)
    except ChatError as error:
        return PressFacts(fault=Fault(said=str(error), fix=error.fix, code=error.code))
    try:
        trial.waiting()
        return await _pressed(socket, trial.value, trial.wait_s)
    finally:
        with contextlib.suppress(ChatError):
            await checks.call(
                "chat.delete", {"channel": message.get("channel"), "ts": message.get("ts")}, read=False
            )


async def _pressed(socket: aiohttp.ClientWebSocketResponse, value: str, wait_s: float) -> PressFacts:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            async for frame in socket:
                envelope = _envelope(frame)
                if not _is_ours(envelope, value):
                    continue  # not acknowledged: Slack tells the person that nobody answered
                await socket.send_json({"envelope_id": envelope.get("envelope_id")})
                user = envelope["payload"].get("user") or {}
                name = str(user.get("name") or user.get("username") or user.get("id") or "")
                return PressFacts(pressed_by=name, after_s=loop.time() - began_s, waited_s=wait_s)
            return PressFacts(fault=Fault(said="Slack closed the connection while it was waited on"))
    return PressFacts(waited_s=wait_s)


def _envelope(frame: aiohttp.WSMessage) -> dict[str, Any]:
    if frame.type is not aiohttp.WSMsgType.TEXT:
        return {}
    try:
        envelope = frame.json()
    except ValueError:
        return {}
    return envelope if isinstance(envelope, dict) else {}


def _is_ours(envelope: Json, value: str) -> bool:
    payload = envelope.get("payload") if envelope.get("type") == "interactive" else None
    actions = payload.get("actions") if isinstance(payload, dict) else None
    return isinstance(actions, list) and any(
        isinstance(one, dict) and one.get("value") == value for one in actions
    )
