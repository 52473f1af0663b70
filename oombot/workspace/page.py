"""The web page: serves its files, one snapshot per person, and takes what the person does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from oombot.workspace.errors import NotAllowedError, NotOnScreenError, SlackError
from oombot.workspace.files import is_text
from oombot.workspace.snapshot import snapshot
from oombot.workspace.state import State

HERE: Final = Path(__file__).parent
ASSETS: Final = {
    "page.css": "text/css", "page.js": "text/javascript", "blocks.js": "text/javascript", "modal.js": "text/javascript",
    "mrkdwn.js": "text/javascript", "dom.js": "text/javascript", "signs.js": "text/javascript",
}  # fmt: skip
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True, kw_only=False)
class PageAction:
    """An extra button at the top of the page; the callback's text is shown as a toast."""

    id: str
    label: str
    callback: Callable[[], Awaitable[str]]


Doing = Callable[[Mapping[str, Any]], Awaitable[Any]]


class Page:
    """The page's own server side; nobody but the page calls it."""

    def __init__(
        self,
        state: State,
        doings: Mapping[str, Doing],
        actions: Sequence[PageAction],
        commands: Sequence[str],
    ) -> None:
        """Offer what people can do as `doings`: a name and an async function of the JSON body."""
        self._state = state
        self._actions = {action.id: action for action in actions}
        self._commands = tuple(commands)
        self._doings = dict(doings)
        self._listeners: set[web.WebSocketResponse] = set()
        self._dirty = asyncio.Event()
        state.watch(self._dirty.set)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to add to the server."""
        return [
            web.get("/", self.handle_page),
            web.get("/page/live", self.handle_live),
            web.get("/page/state", self.handle_state),
            web.get("/page/files/{file}", self.handle_file),
            web.get("/page/{asset}", self.handle_asset),
            web.post("/page/action/{action}", self.handle_action),
            web.post("/page/do/{doing}", self.handle_doing),
            web.get("/archives/{channel}/p{digits:\\d+}", self.handle_permalink),
        ]

    async def handle_page(self, request: web.Request) -> web.Response:
        """Serve the page itself."""
        check_host(request)
        return _secure(web.Response(text=(HERE / "page.html").read_text(), content_type="text/html"))

    async def handle_asset(self, request: web.Request) -> web.Response:
        """Serve a style sheet or a script of the package."""
        check_host(request)
        name = request.match_info["asset"]
        if name not in ASSETS:
            raise web.HTTPNotFound
        return _secure(web.Response(text=(HERE / name).read_text(), content_type=ASSETS[name]))

    async def handle_state(self, request: web.Request) -> web.Response:
        """Serve all that one person sees; ephemeral messages only since the page was loaded."""
        check_host(request)
        try:
            seen = snapshot(
                self._state, request.query.get("as", ""), float(request.query.get("since") or "inf")
            )
        except (NotOnScreenError, ValueError) as fault:
            raise web.HTTPNotFound(text=str(fault)) from None
        seen["actions"] = [{"id": action.id, "label": action.label} for action in self._actions.values()]
        seen["commands"] = list(self._commands)
        return _secure(web.json_response(seen))

    async def handle_file(self, request: web.Request) -> web.Response:
        """Serve an uploaded file, never as anything a browser would run."""
        check_host(request)
        file = self._state.files.get(request.match_info["file"])
        if file is None or file.content is None:
            raise web.HTTPNotFound
        kind = _content_type(file.name, text=is_text(file))
        answer = web.Response(body=file.content, content_type=kind)
        answer.headers["Content-Disposition"] = "inline" if kind.startswith("image/") else "attachment"
        return _secure(answer)

    async def handle_permalink(self, request: web.Request) -> web.Response:
        """Open a permalink on the page."""
        digits = request.match_info["digits"]
        thread = f"&thread={request.query['thread_ts']}" if "thread_ts" in request.query else ""
        ts = f"{digits[:-6]}.{digits[-6:]}"
        raise web.HTTPFound(f"/?channel={request.match_info['channel']}&ts={ts}{thread}")

    async def handle_live(self, request: web.Request) -> web.StreamResponse:
        """Keep a WebSocket on which the page hears that something changed."""
        check_origin(request)
        socket = web.WebSocketResponse(heartbeat=30)
        await socket.prepare(request)
        self._listeners.add(socket)
        try:
            await socket.send_json({"version": self._state.version})
            async for _frame in socket:
                pass
        finally:
            self._listeners.discard(socket)
        return socket

    async def handle_action(self, request: web.Request) -> web.Response:
        """Run a page action and answer with its toast."""
        check_origin(request)
        action = self._actions.get(request.match_info["action"])
        if action is None:
            raise web.HTTPNotFound
        try:
            return web.json_response({"toast": await action.callback()})
        except Exception as fault:
            return web.json_response({"error": f"{action.label} failed: {fault}"})

    async def handle_doing(self, request: web.Request) -> web.Response:
        """Do what the person did on the page."""
        check_origin(request)
        doing = self._doings.get(request.match_info["doing"])
        if doing is None:
            raise web.HTTPNotFound
        try:
            return web.json_response({"result": await doing(await request.json())})
        except (NotAllowedError, NotOnScreenError, SlackError) as refusal:
            return web.json_response({"error": str(refusal)})
        except (KeyError, TypeError, ValueError):
            raise web.HTTPBadRequest from None

    async def announce_changes(self) -> None:
        """Tell every open page about changes, several at once when they come fast."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await asyncio.gather(*(self._announce(socket) for socket in tuple(self._listeners)))
            await asyncio.sleep(0.03)

    async def close(self) -> None:
        """Close the pages' sockets."""
        await asyncio.gather(*(socket.close() for socket in tuple(self._listeners)))

    async def _announce(self, socket: web.WebSocketResponse) -> None:
        try:
            await socket.send_json({"version": self._state.version})
        except ConnectionError:
            self._listeners.discard(socket)


def check_host(request: web.Request) -> None:
    """Refuse a request whose Host is not this machine: another website's name may point here."""
    if urlsplit(f"//{request.host}").hostname not in LOOPBACK:
        raise web.HTTPForbidden(text="open this page under a loopback address")


def check_origin(request: web.Request) -> None:
    """Refuse what another website's page sends; a POST must be JSON, which such a page cannot send unasked."""
    check_host(request)
    origin = request.headers.get("Origin")
    if origin is None or urlsplit(origin).netloc != request.host:
        raise web.HTTPForbidden(text="only the workspace's own page may do this")
    if request.method == "POST" and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType


def _content_type(name: str, *, text: bool) -> str:
    if text:
        return "text/plain"
    kinds = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif"}
    return kinds.get(name.rpartition(".")[2].lower(), "application/octet-stream")


def _secure(answer: web.Response) -> web.Response:
    answer.headers["Content-Security-Policy"] = CSP
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    return answer
