"""Socket Mode: what people do in Slack is acknowledged at once and handed to the desk."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import aiohttp
import structlog
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient

from oombot.adapters.slack import CALL_TIMEOUT_S, FOREIGN, SlackChat, chat_error
from oombot.engine.desk import Desk
from oombot.engine.visits import Visit
from oombot.errors import ChatError, OombotError
from oombot.model import Json
from oombot.proposals import Person

_ANY_BUTTON = re.compile(r"^.{1,255}$", re.DOTALL)  # the desk knows which buttons there are


class _Modal:
    """The dialog of one trigger, or the one that was pressed in."""

    def __init__(self, chat: SlackChat, trigger_id: str, view_id: str = "") -> None:
        self._chat, self._trigger_id, self._view_id = chat, trigger_id, view_id

    async def open(self, view: Json) -> None:
        self._view_id = await self._chat.open_view(self._trigger_id, view)

    async def update(self, view: Json) -> None:
        await self._chat.update_view(self._view_id, view)


class SlackListeners:
    """Socket Mode: acknowledge at once, hand over to the desk, show what it returns."""

    def __init__(self, chat: SlackChat, desk: Desk, *, app_token: str) -> None:
        """Register the listeners; connect with `run`."""
        self._chat, self._desk = chat, desk
        self._log = structlog.get_logger("oombot")
        self._app = AsyncApp(client=AsyncWebClient(base_url=chat.client.base_url), authorize=_knowing(chat))
        self._app.command("/oom")(self._command)
        self._app.action(_ANY_BUTTON)(self._press)
        self._app.view("fix")(self._submit)
        self._handler = AsyncSocketModeHandler(self._app, app_token, web_client=chat.client)
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect; ChatError when Slack refuses the app token, which the SDK would try for ever."""
        client = self._handler.client
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                client.wss_uri = await client.issue_new_wss_url()
                self._watch = asyncio.create_task(self._drop_dead_urls())
                await self._handler.connect_async()
        except FOREIGN as error:
            await self.__aexit__(None, None, None)
            raise _app_token_error(chat_error(error)) from error
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave Socket Mode."""
        if self._watch is not None:
            self._watch.cancel()
        await self._handler.close_async()

    async def _drop_dead_urls(self) -> None:
        """Make the SDK ask for a new address: it would try one that failed for ever, and each works once."""
        client, tried = self._handler.client, ""
        while True:
            await asyncio.sleep(2 * client.ping_interval)
            if await client.is_connected():
                tried = ""
            elif tried and client.wss_uri == tried:
                client.wss_uri = None
            else:
                tried = client.wss_uri or ""

    async def _command(self, ack: Callable[..., Awaitable[Any]], body: Json) -> None:
        await ack()
        visit = self._visit(body, _command_person(body), str(body.get("channel_id") or ""))
        await self._logged(self._desk.command(visit, str(body.get("text") or "")))

    async def _press(self, ack: Callable[..., Awaitable[Any]], body: Json) -> None:
        await ack()
        actions = body.get("actions") or []
        if len(actions) != 1 or actions[0].get("type") != "button":
            return
        visit = self._visit(body, _person(body), _channel_id(body))
        action_id, value = str(actions[0].get("action_id")), str(actions[0].get("value") or "")
        await self._logged(self._desk.press(visit, action_id, value))

    async def _logged(self, work: Awaitable[None]) -> None:
        """A fault must not leave a listener: Bolt takes the acknowledgement back that it has not yet sent."""
        try:
            await work
        except Exception:
            self._log.exception("desk_failed")

    async def _submit(self, ack: Callable[..., Awaitable[Any]], body: Json) -> None:
        view, person = body["view"], _person(body)

        async def say_in(channel_id: str, answer: Json) -> None:
            await self._alone(channel_id, person.user_id, answer)

        try:
            errors = await self._desk.submit(
                person, str(view.get("private_metadata") or ""), _values(view), say_in
            )
        except OombotError as error:
            errors = {"": f"{error} {error.fix}".strip()}
        if errors:
            await ack(response_action="errors", errors=_at_inputs(errors, view))
        else:
            await ack()

    def _visit(self, body: Json, person: Person, channel_id: str) -> Visit:
        url = str(body.get("response_url") or "")

        async def say(view: Json, replace: bool) -> None:
            if not url or not await self._respond(url, view, replace=replace):
                await self._alone(channel_id, person.user_id, view)

        view = body.get("view") or {}
        modal = _Modal(self._chat, str(body.get("trigger_id") or ""), str(view.get("id") or ""))
        private = str(view.get("private_metadata") or "")
        return Visit(person=person, channel_id=channel_id, say=say, modal=modal, private=private)

    async def _respond(self, url: str, view: Json, *, replace: bool) -> bool:
        """Answer through the response_url, which works where the bot is no member; false when it is spent."""
        body = {
            "text": view["text"],
            "blocks": view["blocks"],
            "response_type": "ephemeral",
            "replace_original": replace,
        }
        session = self._chat.client.session
        if session is None or session.closed:
            return False
        try:
            timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
            async with session.post(url, json=body, timeout=timeout) as response:
                return response.status == 200
        except FOREIGN:
            return False

    async def _alone(self, channel_id: str, user_id: str, view: Json) -> None:
        try:
            await self._chat.say_alone(channel_id, user_id, view)
        except ChatError as error:
            self._log.warning("answer_not_shown", user=user_id, error=str(error), fix=error.fix)


def _knowing(chat: SlackChat) -> Callable[[], Awaitable[AuthorizeResult]]:
    """Tell Bolt who we are from what the chat asked at open: it would ask again before its first ack."""

    async def authorize() -> AuthorizeResult:
        return AuthorizeResult(enterprise_id=None, team_id=chat.team_id, bot_user_id=chat.user_id)

    return authorize


def _app_token_error(error: ChatError) -> ChatError:
    if error.code in {"invalid_auth", "not_authed"}:
        error.fix = "SLACK_APP_TOKEN is not a valid app-level token (xapp-) of this app"
    elif error.code == "missing_scope":
        error.fix = "give the app-level token in SLACK_APP_TOKEN the scope connections:write"
    return error


def _person(body: Json) -> Person:
    user = body.get("user") or {}
    team = user.get("team_id") or (body.get("team") or {}).get("id") or ""
    return Person(user_id=str(user.get("id") or ""), team_id=str(team), name=str(user.get("name") or ""))


def _command_person(body: Json) -> Person:
    return Person(
        user_id=str(body.get("user_id") or ""),
        team_id=str(body.get("team_id") or ""),
        name=str(body.get("user_name") or ""),
    )


def _channel_id(body: Json) -> str:
    """Where the button stands; a message's container names the channel too."""
    here = (body.get("channel") or {}).get("id") or (body.get("container") or {}).get("channel_id")
    return str(here or "")


def _at_inputs(errors: Json, view: Json) -> dict[str, str]:
    """Errors at the fields they belong to; at the first where Slack shows no such field."""
    inputs = [str(one.get("block_id")) for one in view.get("blocks") or [] if one.get("type") == "input"]
    first = next(iter(inputs), "")
    shown: dict[str, str] = {}
    for name, error in errors.items():
        place = name if name in inputs else first
        shown[place] = f"{shown[place]} {error}" if place in shown else str(error)
    return shown


def _values(view: Json) -> dict[str, str]:
    """The form's fields by block id, as text."""
    values = {}
    for block_id, actions in ((view.get("state") or {}).get("values") or {}).items():
        for element in actions.values():
            option = element.get("selected_option") or {}
            values[block_id] = str(option.get("value") or element.get("value") or "")
    return values
