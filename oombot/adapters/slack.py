"""Slack's Web API as the Chat port; every foreign error is mapped here."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from oombot.errors import ChatError
from oombot.model import Json

CALL_TIMEOUT_S = 20
EVENT_TYPE = "oombot_message"
_FIXES = {
    "not_in_channel": "/invite @oombot in that channel",
    "channel_not_found": "check slack.channel, and /invite @oombot there (a private channel hides until then)",
    "invalid_auth": "SLACK_BOT_TOKEN is not a valid token of this workspace",
    "not_allowed_token_type": "SLACK_BOT_TOKEN takes the xoxb- token, SLACK_APP_TOKEN the xapp- token",
    "missing_scope": "reinstall the app with the manifest of `oombot slack manifest`",
    "is_archived": "choose another channel: this one is archived",
    "not_authed": "SLACK_BOT_TOKEN is empty",
    "account_inactive": "the app was removed: install it again and take the new SLACK_BOT_TOKEN",
    "token_revoked": "install the app again and take the new SLACK_BOT_TOKEN",
    "token_expired": "switch token rotation off in the app, install it again and take the new SLACK_BOT_TOKEN",
}
_UNSURE = (
    "fatal_error",
    "internal_error",
    "service_unavailable",
)  # part of it may have been done, Slack says
# the last two: the SDK stumbles over an answer that is no JSON object
FOREIGN = (SlackClientError, aiohttp.ClientError, TimeoutError, OSError, ValueError, AttributeError)


def chat_error(error: Exception) -> ChatError:
    """Map everything that Slack's SDK raises; an empty code means that Slack may or may not have done it."""
    if not isinstance(error, SlackApiError):
        return ChatError(f"Slack did not answer ({type(error).__name__})", code="", retry_after_s=1.0)
    status, headers, body = _answer(error.response)
    code = str(body.get("error") or "")
    if status == 429 or code in {"ratelimited", "rate_limited"}:
        return ChatError("Slack asks to wait", code="ratelimited", retry_after_s=_wait_s(headers))
    if status >= 500 or code in _UNSURE or not (code or status >= 400):
        return ChatError(f"Slack answered {code or f'HTTP {status}'}", code="", retry_after_s=1.0)
    code = code or f"http_{status}"
    wrong = ChatError(f"Slack refused: {code}", code=code)
    wrong.fix = _FIXES.get(code, "")
    needed = body.get("needed")
    if needed:
        wrong.fix = f"the app needs the scope {needed}: {wrong.fix}"
    return wrong


def _answer(response: Any) -> tuple[int, Mapping[str, str], Json]:
    """Status, headers and body; where the body was no JSON, the SDK hands out aiohttp's response."""
    status: Any = getattr(response, "status_code", None) or getattr(response, "status", 0)
    body = getattr(response, "data", None)
    return int(status), getattr(response, "headers", {}), body if isinstance(body, dict) else {}


def _wait_s(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0


class SlackChat:
    """The Chat port. Open it before use: it learns who it is, and refuses a wrong token there."""

    def __init__(self, *, token: str, api_url: str) -> None:
        """Take the bot token and the Web API's address (ending in /api/)."""
        # no retries of the SDK: what was cut off may have been done, and would be done twice
        self.client = AsyncWebClient(token=token, base_url=api_url, timeout=CALL_TIMEOUT_S, retry_handlers=[])
        self.team_id = ""
        self.user_id = ""
        self._ids: dict[str, str] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        """Ask Slack who we are, on one kept HTTP session."""
        self.client.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S))
        try:
            self._open = True
            answer = await self._call("auth.test")
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self.team_id = str(answer.get("team_id") or "")
        self.user_id = str(answer.get("user_id") or "")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the HTTP session."""
        self._open = False
        if self.client.session is not None:
            await self.client.session.close()

    async def post(
        self, channel: str, view: Json, *, key: str, version: int, thread_ts: str | None
    ) -> tuple[str, str]:
        """Post a message marked with its key, so that it can be found again after a crash."""
        body = {"channel": await self._channel_id(channel), **_body(view, key, version)}
        if thread_ts is not None:
            body["thread_ts"] = thread_ts
        answer = await self._call("chat.postMessage", body)
        return str(answer["channel"]), str(answer["ts"])

    async def update(self, channel_id: str, ts: str, view: Json, *, key: str, version: int) -> None:
        """Edit a message of ours."""
        await self._call("chat.update", {"channel": channel_id, "ts": ts, **_body(view, key, version)})

    async def delete(self, channel_id: str, ts: str) -> None:
        """Remove a message of ours."""
        await self._call("chat.delete", {"channel": channel_id, "ts": ts})

    async def find(
        self, channel: str, key: str, *, since_s: float, thread_ts: str | None
    ) -> list[tuple[str, str]]:
        """Look through the history (of the thread) for messages of ours that carry the key.

        Any app can read the key and mark a message of its own with it.
        """
        channel_id = await self._channel_id(channel)
        method = "conversations.history" if thread_ts is None else "conversations.replies"
        body: dict[str, Any] = {"channel": channel_id, "include_all_metadata": True, "limit": 200}
        body |= {"oldest": f"{since_s:.6f}"} if thread_ts is None else {"ts": thread_ts}
        found = []
        for _ in range(20):
            answer = await self._call(method, body)
            for message in answer.get("messages") or []:
                payload = (message.get("metadata") or {}).get("event_payload") or {}
                if payload.get("key") == key and message.get("user") == self.user_id:
                    found.append((channel_id, str(message["ts"])))
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                break
            body["cursor"] = cursor
        return sorted(found, key=lambda pair: float(pair[1]))

    async def members(self, usergroup_id: str) -> frozenset[str]:
        """The user group's members, asked now."""
        answer = await self._call("usergroups.users.list", {"usergroup": usergroup_id})
        return frozenset(answer.get("users") or [])

    async def is_person(self, user_id: str, team_id: str) -> bool:
        """Active full members of our own workspace only; Slack does not call its own Slackbot a bot."""
        if team_id != self.team_id or user_id == "USLACKBOT":
            return False
        user = (await self._call("users.info", {"user": user_id})).get("user") or {}
        barred = ("deleted", "is_bot", "is_restricted", "is_ultra_restricted", "is_stranger")
        return user.get("team_id") == self.team_id and not any(user.get(flag) for flag in barred)

    async def is_shared(self, channel_id: str) -> bool:
        """Slack Connect, also where the other workspace has not accepted yet."""
        channel = (await self._call("conversations.info", {"channel": channel_id})).get("channel") or {}
        return bool(channel.get("is_ext_shared") or channel.get("is_pending_ext_shared"))

    async def upload(
        self, channel_id: str, thread_ts: str, *, filename: str, title: str, content: str
    ) -> None:
        """Put a text file into a thread (three steps, as Slack wants it)."""
        self._check_open()
        try:
            await self.client.files_upload_v2(
                channel=channel_id, thread_ts=thread_ts, filename=filename, title=title, content=content
            )
        except FOREIGN as error:
            raise chat_error(error) from error

    async def say_alone(self, channel_id: str, user_id: str, view: Json) -> None:
        """An ephemeral message, where there is no response_url (any more)."""
        body = {"channel": channel_id, "user": user_id, "text": view["text"], "blocks": view["blocks"]}
        await self._call("chat.postEphemeral", body)

    async def open_view(self, trigger_id: str, view: Json) -> str:
        """Open a modal; its view id."""
        answer = await self._call("views.open", {"trigger_id": trigger_id, "view": view})
        return str(answer["view"]["id"])

    async def update_view(self, view_id: str, view: Json) -> None:
        """Replace a modal's content."""
        await self._call("views.update", {"view_id": view_id, "view": view})

    async def _channel_id(self, channel: str) -> str:
        """A channel's id from its name, looked up once; history and edits take ids only."""
        if channel[:1] in "CGD" and channel.isupper():
            return channel
        if channel not in self._ids:
            await self._learn_channels()
        if channel not in self._ids:
            wrong = ChatError(f"Slack shows no channel #{channel}", code="channel_not_found")
            wrong.fix = _FIXES["channel_not_found"]
            raise wrong
        return self._ids[channel]

    async def _learn_channels(self) -> None:
        body: dict[str, Any] = {
            "types": "public_channel,private_channel",
            "exclude_archived": True,
            "limit": 999,
        }
        while True:
            answer = await self._call("conversations.list", body)
            self._ids |= {str(item["name"]): str(item["id"]) for item in answer.get("channels") or []}
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return
            body["cursor"] = cursor

    async def _call(self, method: str, body: Json | None = None) -> Any:
        self._check_open()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                if method in _READS:
                    response = await self.client.api_call(method, params=_plain(body or {}))
                else:
                    response = await self.client.api_call(method, json=dict(body or {}))
        except FOREIGN as error:
            raise chat_error(error) from error
        return response.data

    def _check_open(self) -> None:
        if not self._open:
            raise ChatError("Slack is not connected", code="closed")


_READS = (
    "conversations.history",
    "conversations.list",
    "conversations.replies",
    "usergroups.users.list",
    "users.info",
)


def _plain(body: Json) -> dict[str, str]:
    """Query parameters: these methods take no JSON body."""
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in body.items()}


def _body(view: Json, key: str, version: int) -> dict[str, Any]:
    return {
        "text": view["text"],
        "blocks": view["blocks"],
        "unfurl_links": False,
        "unfurl_media": False,
        "metadata": {"event_type": EVENT_TYPE, "event_payload": {"key": key, "version": version}},
    }
