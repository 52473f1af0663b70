"""The Web API over HTTP: finds the method, checks token, scope, limits and faults, and answers as Slack does."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from oombot.workspace import chat, conversations, files, people, views
from oombot.workspace.calls import Args, Call, Method
from oombot.workspace.errors import RateLimitedError, SlackError
from oombot.workspace.faults import Faults
from oombot.workspace.rate_limits import RateLimits
from oombot.workspace.response_urls import respond
from oombot.workspace.state import State

METHODS: Final[dict[str, Method]] = (
    chat.METHODS | conversations.METHODS | files.METHODS | people.METHODS | views.METHODS
)


class WebApi:
    """The handlers of `/api/…`, of uploads and of response_urls."""

    def __init__(self, state: State, faults: Faults, limits: RateLimits) -> None:
        """Serve this state."""
        self._state = state
        self._faults = faults
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to the server."""
        return [
            web.route("*", "/api/{method}", self.handle_method),
            web.post("/upload/v1/{key}", self.handle_upload),
            web.post("/{kind:commands|actions}/{team}/{key}", self.handle_response_url),
        ]

    async def handle_method(self, request: web.Request) -> web.Response:
        """Serve one call of a method."""
        name = request.match_info["method"]
        await asyncio.sleep(self._faults.delay_of(name))
        try:
            raw = await _arguments(request)
            answer = _answer({"ok": True, **self._run(name, raw, request.headers)}, self._state)
        except SlackError as refusal:
            answer = _refusal(refusal, self._state)
        if self._faults.takes_drop(name) and request.transport is not None:
            request.transport.abort()
        return answer

    def _run(self, name: str, raw: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        method = METHODS.get(name)
        if method is None:
            raise SlackError("unknown_method", req_method=name)
        self._faults.raise_failure(name)
        check_token(self._state, method, headers.get("Authorization", ""), str(raw.get("token") or ""))
        call = Call(
            state=self._state, args=Args({key: value for key, value in raw.items() if key != "token"})
        )
        if method.scope:
            call.need(method.scope)
        if method.is_post:
            self._limits.post(call.channel_to_write().id)
        else:
            self._limits.call(name, method.per_minute)
        return method.run(call)

    async def handle_upload(self, request: web.Request) -> web.Response:
        """Take the bytes of a file, raw or as the first part of a form."""
        try:
            length = files.receive_upload(self._state, request.match_info["key"], await _uploaded(request))
        except SlackError as refusal:
            return web.Response(status=refusal.status, text=refusal.code)
        return web.Response(text=f"OK - {length}")

    async def handle_response_url(self, request: web.Request) -> web.Response:
        """Post, replace or delete through a response_url."""
        try:
            body = await request.json()
            respond(self._state, self._state.use_response_url(request.match_info["key"]), dict(body))
        except (json.JSONDecodeError, TypeError, ValueError):
            return web.Response(status=400, text="invalid_payload")
        except SlackError as refusal:
            return web.json_response(
                refusal.as_json(), status=400 if refusal.status == 200 else refusal.status
            )
        return web.Response(text="ok")


def check_token(state: State, method: Method, header: str, parameter: str) -> None:
    """Refuse a call without the right kind of token; app-level tokens count in the header only."""
    if method.caller == "any":
        return
    token = header.removeprefix("Bearer ").strip() or ("" if method.caller == "app" else parameter)
    if not token:
        raise SlackError("not_authed")
    if token not in {state.bot_token, state.app_token}:
        raise SlackError("invalid_auth")
    if token != (state.app_token if method.caller == "app" else state.bot_token):
        raise SlackError("not_allowed_token_type")


async def _arguments(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json" and request.can_read_body:
        try:
            body = await request.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise SlackError("invalid_json") from None
        if not isinstance(body, dict):
            raise SlackError("json_not_object")
        return {**request.query, **body}
    form = await request.post() if request.method == "POST" else {}
    return {**request.query, **form}


async def _uploaded(request: web.Request) -> bytes:
    if request.content_type != "multipart/form-data":
        return await request.read()
    for part in (await request.post()).values():
        if isinstance(part, web.FileField):
            return part.file.read()
    return b""


def _answer(body: Mapping[str, Any], state: State, status: int = 200) -> web.Response:
    answer = web.json_response(body, status=status)
    answer.headers["x-oauth-scopes"] = ",".join(sorted(state.scopes))
    answer.headers["x-slack-req-id"] = secrets.token_hex(16)
    return answer


def _refusal(refusal: SlackError, state: State) -> web.Response:
    answer = _answer(refusal.as_json(), state, refusal.status)
    if isinstance(refusal, RateLimitedError):
        answer.headers["Retry-After"] = str(refusal.retry_after_s)
    return answer
