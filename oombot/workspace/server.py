"""The workspace as one async context manager: server, people's hands, and the switches for tests."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from oombot.workspace.clicks import Clicks
from oombot.workspace.commands import Commands
from oombot.workspace.directory import Directory
from oombot.workspace.errors import NotOnScreenError
from oombot.workspace.events import Events, visible_channel
from oombot.workspace.faults import Faults
from oombot.workspace.modals import Modals
from oombot.workspace.page import Doing, Page, PageAction
from oombot.workspace.rate_limits import RateLimits
from oombot.workspace.seed import DEFAULT_SCOPES
from oombot.workspace.socket_mode import SocketHub
from oombot.workspace.state import State
from oombot.workspace.tasks import Tasks
from oombot.workspace.web_api import WebApi

MAX_BODY_BYTES = 60_000_000


class Workspace:
    """A strict local Slack on loopback; open it with `async with`."""

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        page_actions: Sequence[PageAction] = (),
        slash_commands: Sequence[str] = ("/oom",),
        scopes: Iterable[str] = DEFAULT_SCOPES,
        clock: Callable[[], float] = time.time,
        ack_timeout_s: float = 3.0,
        redelivery_delays_s: Sequence[float] = (0.0, 60.0, 300.0),
        post_burst: int = 5,
        bot_name: str = "oombot",
    ) -> None:
        """Prepare everything that needs no network; port 0 takes any free one."""
        self._address = (host, port)
        self._tasks = Tasks()
        self._state = State(clock, scopes, bot_name)
        self._hub = SocketHub(self._state, ack_timeout_s)
        self.faults = Faults(self._state, self._hub.disconnect)
        self._hub.obey(self.faults)
        self._events = Events(self._state, self._hub, self.faults, self._tasks, redelivery_delays_s)
        self._commands = Commands(self._state, self._hub, frozenset(slash_commands))
        self._clicks = Clicks(self._state, self._hub)
        self._modals = Modals(self._state, self._hub, self._clicks)
        self._api = WebApi(self._state, self.faults, RateLimits(clock, post_burst))
        self._page = Page(self._state, self._doings(), page_actions, slash_commands)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Start to listen."""
        if self._runner is not None:
            raise RuntimeError("this workspace was opened already; make a new one")
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes([*self._api.routes(), web.get("/link/", self._hub.handle), *self._page.routes()])
        self._runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)
        await self._runner.setup()
        host, port = self._address
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._state.base_url = f"http://{_shown_host(host)}:{self._runner.addresses[0][1]}"
        self._tasks.start(self._page.announce_changes())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close sockets, tasks and the server."""
        await self._tasks.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.gather(self._hub.close(), self._page.close())
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Return the address of the page."""
        return self._state.base_url

    @property
    def api_url(self) -> str:
        """Return the base of the Web API, with its final slash."""
        return f"{self._state.base_url}/api/"

    @property
    def bot_token(self) -> str:
        """Return the bot token."""
        return self._state.bot_token

    @property
    def app_token(self) -> str:
        """Return the app-level token for Socket Mode."""
        return self._state.app_token

    @property
    def scopes(self) -> set[str]:
        """Return the bot token's scopes, a set that may be changed."""
        return self._state.scopes

    @property
    def app_scopes(self) -> set[str]:
        """Return the app-level token's scopes, a set that may be changed."""
        return self._state.app_scopes

    async def switch_socket_mode(self, *, on: bool) -> None:
        """Do what the switch in the app's settings does: off ends every connection with `link_disabled`."""
        self._state.socket_mode = on
        if not on:
            await self._hub.disconnect("link_disabled", announced=True)

    @property
    def directory(self) -> Directory:
        """Return people, channels and groups, which may be changed."""
        return self._state.directory

    @property
    def connections(self) -> int:
        """Return how many Socket Mode connections are open."""
        return self._hub.connections

    def set_edit_window(self, seconds: float | None) -> None:
        """Refuse edits of messages older than this; None allows all."""
        self._state.edit_window_s = seconds

    def messages(self, channel: str) -> list[dict[str, Any]]:
        """Return a channel's messages, replies and metadata included, oldest first."""
        found = self._state.directory.channel_named(channel)
        if found is None:
            raise NotOnScreenError(f"there is no channel {channel}")
        return self._state.timeline.messages(found.id)

    def ephemerals(self, user_id: str) -> list[dict[str, Any]]:
        """Return the messages only this person was shown, each with its channel id."""
        return [{**e.message, "channel": e.channel_id} for e in self._state.timeline.ephemerals(user_id)]

    def view(self, user_id: str) -> dict[str, Any] | None:
        """Return the modal this person sees, or nothing."""
        return self._modals.top(user_id)

    def home(self, user_id: str) -> dict[str, Any] | None:
        """Return the home tab the bot published for this person, or nothing."""
        return self._state.homes.get(user_id)

    async def slash(
        self, user_id: str, channel: str, line: str, *, thread_ts: str | None = None
    ) -> dict[str, Any] | None:
        """Type a slash command; return the message the person sees at once, if any."""
        where = visible_channel(self._state, user_id, channel)
        return await self._commands.run(user_id, where, line, thread_ts)

    async def click(  # noqa: PLR0917 (a click has that many parts)
        self,
        user_id: str,
        channel: str,
        ts: str,
        action_id: str,
        value: Any = None,
        block_id: str | None = None,
    ) -> bool:
        """Use a button or menu of a message; tell whether the app acknowledged in time."""
        where = visible_channel(self._state, user_id, channel)
        return await self._clicks.in_message(user_id, where, ts, action_id, value, block_id)

    async def click_view(
        self,
        user_id: str,
        action_id: str,
        value: Any = None,
        block_id: str | None = None,
        *,
        typed: Mapping[str, Any] | None = None,
    ) -> bool:
        """Use a button or menu of the open modal, or of the home tab when none is open."""
        view = self.view(user_id) or self.home(user_id)
        if view is None:
            raise NotOnScreenError(f"{user_id} has neither a modal nor a home tab")
        return await self._clicks.in_view(user_id, view, action_id, value, block_id, typed or {})

    async def submit(self, user_id: str, values: Mapping[str, Any]) -> dict[str, str]:
        """Submit the open modal; return block_id → error shown under the field, empty when accepted."""
        return await self._modals.submit(user_id, values)

    async def close_view(self, user_id: str, *, everything: bool = False) -> None:
        """Close the open modal, or the whole stack."""
        await self._modals.close(user_id, everything=everything)

    async def say(
        self, user_id: str, channel: str, text: str, *, thread_ts: str | None = None
    ) -> dict[str, Any]:
        """Write a message as a person; `<@BOT>` in it makes it a mention."""
        return self._events.say(user_id, visible_channel(self._state, user_id, channel), text, thread_ts)

    async def mention(
        self, user_id: str, channel: str, text: str, *, thread_ts: str | None = None
    ) -> dict[str, Any]:
        """Write a message that mentions the bot."""
        return await self.say(user_id, channel, f"<@{self.directory.bot.id}> {text}", thread_ts=thread_ts)

    async def open_home(self, user_id: str) -> None:
        """Open the bot's home tab."""
        self._events.open_home(user_id)

    async def invite_bot(self, user_id: str, channel: str) -> None:
        """Invite the bot to a channel the person sees."""
        self._events.invite_bot(user_id, visible_channel(self._state, user_id, channel))

    def _doings(self) -> dict[str, Doing]:
        """Return what the page may do, by name; each takes the JSON body of the page's request."""
        return {
            "say": lambda b: self.say(b["as"], b["channel"], b["text"], thread_ts=b.get("thread_ts")),
            "slash": lambda b: self.slash(b["as"], b["channel"], b["text"], thread_ts=b.get("thread_ts")),
            "click": lambda b: self.click(
                b["as"], b["channel"], b["ts"], b["action_id"], b.get("value"), b.get("block_id")
            ),
            "click_view": lambda b: self.click_view(
                b["as"], b["action_id"], b.get("value"), b.get("block_id"), typed=b.get("typed")
            ),
            "submit": lambda b: self.submit(b["as"], b["values"]),
            "close": lambda b: self.close_view(b["as"]),
            "home": lambda b: self.open_home(b["as"]),
        }


def _shown_host(host: str) -> str:
    """Return the host as it stands in a URL; a server on every address is reached through loopback."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 (compared, not bound)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
