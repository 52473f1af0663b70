"""Socket Mode: tickets become WebSockets, envelopes go to any one of them, acknowledgements come back."""

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiohttp import WSMsgType, web

from oombot.workspace.faults import Faults
from oombot.workspace.seed import APP_ID
from oombot.workspace.state import State

SOCKETS_MAX: Final = 10
LIFETIME_S: Final = 18_060
DEBUG_LIFETIME_S: Final = 360
_HOST: Final = "applink-local"

EnvelopeKind = Literal["events_api", "slash_commands", "interactive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How one envelope fared: no socket, no acknowledgement in time, or an acknowledgement with its payload."""

    outcome: Literal["no_socket", "timeout", "acked"]
    payload: dict[str, Any] = field(default_factory=dict)

    @property
    def is_acked(self) -> bool:
        """Tell whether the app acknowledged."""
        return self.outcome == "acked"


class SocketHub:
    """All open sockets of the app."""

    def __init__(self, state: State, ack_timeout_s: float) -> None:
        """Start with no socket."""
        self._state = state
        self._ack_timeout_s = ack_timeout_s
        self._sockets: list[web.WebSocketResponse] = []
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.takes_ack: Callable[[], bool] = lambda: False

    def obey(self, faults: Faults) -> None:
        """Lose acknowledgements when the faults say so."""
        self.takes_ack = faults.takes_ack

    @property
    def connections(self) -> int:
        """Return how many sockets are open."""
        return len(self._sockets)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket from hello to close."""
        if not self._state.take_ticket(request.query.get("ticket", "")):
            return web.Response(status=404, text="this URL was used already or never issued")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if not self._state.socket_mode:
            await _say_goodbye(socket, "link_disabled")
            return socket
        if len(self._sockets) >= SOCKETS_MAX:
            await _say_goodbye(socket, "too_many_websockets")
            return socket
        debug = request.query.get("debug_reconnects") == "true"
        lifetime_s = DEBUG_LIFETIME_S if debug else LIFETIME_S
        self._sockets.append(socket)
        try:
            await socket.send_json(self._hello(lifetime_s))
            async with asyncio.timeout(lifetime_s):
                await self._read(socket)
        except TimeoutError:
            await _say_goodbye(socket, "refresh_requested")
        finally:
            self._forget(socket)
        return socket

    async def deliver(
        self, kind: EnvelopeKind, payload: dict[str, Any], *, accepts_payload: bool = False, **retry: Any
    ) -> Delivery:
        """Send one envelope to any one socket and wait for its acknowledgement."""
        if not self._sockets:
            return Delivery(outcome="no_socket")
        envelope_id = secrets.token_hex(16)
        envelope = {"envelope_id": envelope_id, "type": kind, "payload": payload, **retry}
        envelope["accepts_response_payload"] = accepts_payload
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[envelope_id] = answer
        try:
            await secrets.choice(self._sockets).send_json(envelope)
            acked = await asyncio.wait_for(answer, self._ack_timeout_s)
        except (TimeoutError, ConnectionError):
            return Delivery(outcome="timeout")
        finally:
            del self._waiting[envelope_id]
        return Delivery(outcome="acked", payload=acked if accepts_payload else {})

    async def disconnect(self, reason: str, announced: bool) -> None:
        """Close every socket; a `warning` is only announced."""
        for socket in tuple(self._sockets):
            if reason == "warning":
                await socket.send_json(_goodbye(reason))
                continue
            self._forget(socket)
            if announced:
                await _say_goodbye(socket, reason)
            else:
                await socket.close()

    async def close(self) -> None:
        """Close every socket without a word."""
        await asyncio.gather(*(socket.close() for socket in tuple(self._sockets)))

    def _forget(self, socket: web.WebSocketResponse) -> None:
        if socket in self._sockets:
            self._sockets.remove(socket)

    def _hello(self, lifetime_s: int) -> dict[str, Any]:
        debug = {"host": _HOST, "build_number": 1, "approximate_connection_time": lifetime_s}
        counts = {"num_connections": len(self._sockets), "connection_info": {"app_id": APP_ID}}
        return {"type": "hello", **counts, "debug_info": debug}

    async def _read(self, socket: web.WebSocketResponse) -> None:
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                self._take_ack(frame.data)

    def _take_ack(self, text: str) -> None:
        try:
            ack = json.loads(text)
        except ValueError:
            return
        answer = self._waiting.get(str(ack.get("envelope_id"))) if isinstance(ack, dict) else None
        if answer is None or answer.done() or self.takes_ack():
            return
        payload = ack.get("payload")
        answer.set_result(payload if isinstance(payload, dict) else {})


def _goodbye(reason: str) -> dict[str, Any]:
    return {"type": "disconnect", "reason": reason, "debug_info": {"host": _HOST}}


async def _say_goodbye(socket: web.WebSocketResponse, reason: str) -> None:
    if not socket.closed:
        await socket.send_json(_goodbye(reason))
    await socket.close()
