"""Asks Slack what doctor wants to know: token, scopes, channels, people, user groups, Socket Mode."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from oombot.adapters.slack import CALL_TIMEOUT_S, FOREIGN, chat_error
from oombot.config import Tokens
from oombot.doctor.gathered import ChannelFacts, Fault, GroupFacts, PersonFacts, SlackFacts, SocketFacts
from oombot.errors import ChatError
from oombot.model import Json
from oombot.rights import Approvers

HELLO_WITHIN_S = 15.0
PEOPLE_AT_MOST = 60  # users.info allows a hundred a minute
_AT_ONCE = 4
_PAGES = 20
_WAIT_AT_MOST_S = 30.0
_BARS = (
    ("deleted", "deactivated"),
    ("is_bot", "a bot"),
    ("is_ultra_restricted", "a guest"),
    ("is_restricted", "a guest"),
    ("is_stranger", "of another workspace"),
)


class SlackChecks:
    """One look at Slack. It posts nothing and changes nothing."""

    def __init__(self, tokens: Tokens, *, api_url: str, clock: Callable[[], float]) -> None:
        """Take both tokens and the Web API's address."""
        self.client = AsyncWebClient(
            token=tokens.bot, base_url=api_url, timeout=CALL_TIMEOUT_S, retry_handlers=[]
        )
        self._app_token, self._clock = tokens.app, clock
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Self:
        """Open one HTTP session."""
        self.client.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self.client.session is not None:
            await self.client.session.close()

    async def ask(self, *, channels: Iterable[str], approvers: Approvers, bot_runs: bool) -> SlackFacts:
        """Everything; after a refused bot token nothing more is asked. With `bot_runs` no connection is opened."""
        try:
            who, headers, ahead_s, uncertain_s = await self._who()
        except ChatError as error:
            return SlackFacts(auth=_fault(error))
        scopes = headers.get("x-oauth-scopes")
        groups = {key: await self._group(key) for key in approvers.groups}
        people, left = await self._people(approvers, groups, str(who.get("team_id") or ""))
        return SlackFacts(
            team=str(who.get("team") or ""),
            team_id=str(who.get("team_id") or ""),
            bot_name=str(who.get("user") or ""),
            app_id=str(who.get("app_id") or ""),
            scopes=None if scopes is None else frozenset(filter(None, scopes.replace(" ", "").split(","))),
            channels=await self._channels(tuple(channels)),
            people=people,
            groups=groups,
            people_not_asked=left,
            socket=await self._socket(bot_runs=bot_runs),
            ahead_s=ahead_s,
            uncertain_s=uncertain_s,
        )

    async def socket_url(self) -> str:
        """An address for one connection; ChatError when Slack refuses the app token."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                answer = await self.client.apps_connections_open(app_token=self._app_token)
        except FOREIGN as error:
            raise chat_error(error) from error
        return str(answer["url"])

    async def call(self, method: str, body: Json, *, read: bool = True) -> Json:
        """One call; where Slack asks to wait, it is waited for once or twice."""
        return (await self._call(method, body, read=read))[0]

    # -- who we are
    async def _who(self) -> tuple[Json, Mapping[str, str], float | None, float]:
        """The answer, its headers, how far our clock is ahead of Slack's, and how sure that is."""
        began_s = self._clock()
        body, headers = await self._call("auth.test", {})
        took_s = self._clock() - began_s
        try:
            theirs_s = parsedate_to_datetime(headers.get("Date", "")).timestamp() + 0.5  # whole seconds
        except (TypeError, ValueError):
            return body, headers, None, 1.0
        return body, headers, began_s + took_s / 2 - theirs_s, took_s / 2 + 0.5

    # -- channels
    async def _channels(self, wanted: tuple[str, ...]) -> dict[str, ChannelFacts | Fault]:
        ids = [channel for channel in wanted if channel[:1] in "CG" and channel.isupper()]
        found: dict[str, ChannelFacts | Fault] = {channel: await self._by_id(channel) for channel in ids}
        names = set(wanted) - set(ids)
        found |= await self._by_name(names) if names else {}
        return {channel: found[channel] for channel in wanted}

    async def _by_id(self, channel: str) -> ChannelFacts | Fault:
        try:
            return _channel(
                (await self.call("conversations.info", {"channel": channel})).get("channel") or {}
            )
        except ChatError as error:
            return _fault(error)

    async def _by_name(self, names: set[str]) -> dict[str, ChannelFacts | Fault]:
        """Public and private ones are listed apart: a scope that one of them lacks says nothing of the other."""
        found: dict[str, ChannelFacts | Fault] = {}
        fault: Fault | None = None
        for kind in ("public_channel", "private_channel"):
            try:
                await self._list(kind, names, found)
            except ChatError as error:
                fault = fault or _fault(error)
        unseen = fault or Fault(said="Slack shows no such channel", code="channel_not_found")
        return {name: found.get(name, unseen) for name in names}

    async def _list(self, kind: str, names: set[str], found: dict[str, ChannelFacts | Fault]) -> None:
        body = {"types": kind, "exclude_archived": "false", "limit": "999"}
        for _ in range(_PAGES):
            answer = await self.call("conversations.list", body)
            for item in answer.get("channels") or []:
                facts = _channel(item)
                older = found.get(facts.name)
                if facts.name in names and not (isinstance(older, ChannelFacts) and not older.archived):
                    found[facts.name] = facts
            body["cursor"] = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if not body["cursor"] or names <= set(found):
                return
        raise ChatError(
            f"Slack lists more than {_PAGES * 999} channels; give the channel's id", code="too_many"
        )

    # -- people
    async def _group(self, group_id: str) -> GroupFacts:
        try:
            answer = await self.call("usergroups.users.list", {"usergroup": group_id})
        except ChatError as error:
            return GroupFacts(group_id=group_id, fault=_fault(error))
        return GroupFacts(group_id=group_id, members=tuple(str(user) for user in answer.get("users") or []))

    async def _people(
        self, approvers: Approvers, groups: Mapping[str, GroupFacts], own_team: str
    ) -> tuple[dict[str, PersonFacts], int]:
        """Those named first, then members of groups, as many as Slack lets us ask in a minute."""
        members = [user for group in groups.values() for user in group.members or ()]
        wanted = list(dict.fromkeys([*approvers.users, *members]))
        asked = wanted[:PEOPLE_AT_MOST]
        found = await asyncio.gather(*(self._person(user, own_team) for user in asked))
        return {facts.user_id: facts for facts in found}, len(wanted) - len(asked)

    async def _person(self, user_id: str, own_team: str) -> PersonFacts:
        try:
            async with self._gate:
                user = (await self.call("users.info", {"user": user_id})).get("user") or {}
        except ChatError as error:
            return PersonFacts(user_id=user_id, fault=_fault(error))
        barred = next((why for flag, why in _BARS if user.get(flag)), "")
        if user_id == "USLACKBOT":
            barred = "a bot"
        elif not barred and user.get("team_id") != own_team:
            barred = "of another workspace"
        profile = user.get("profile") or {}
        name = str(user.get("real_name") or profile.get("real_name") or user.get("name") or "")
        return PersonFacts(user_id=user_id, name=name, barred=barred)

    # -- Socket Mode
    async def _socket(self, *, bot_runs: bool) -> SocketFacts:
        """Open one connection, hear its hello, and leave at once: as long as it is open it may be given a press."""
        try:
            url = await self.socket_url()
            if bot_runs:
                return SocketFacts()
            async with asyncio.timeout(HELLO_WITHIN_S), self.connect(url) as socket:
                return hello_of(await socket.receive_json())
        except ChatError as error:
            return SocketFacts(fault=_fault(error))
        except (*FOREIGN, TypeError) as error:
            return SocketFacts(fault=Fault(said=f"{type(error).__name__} {error}".strip()))

    def connect(self, url: str) -> Any:
        """Open a WebSocket, through the proxy that the environment names for Slack."""
        assert self.client.session is not None
        return self.client.session.ws_connect(url, proxy=self.client.proxy)

    async def _call(self, method: str, body: Json, *, read: bool = True) -> tuple[Json, Mapping[str, str]]:
        for attempt in range(3):
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    sent: Any = {"params": dict(body)} if read else {"json": dict(body)}
                    answer = await self.client.api_call(method, **sent)
            except FOREIGN as error:
                refused = chat_error(error)
                wait_s = refused.retry_after_s or 0.0
                limited = isinstance(error, SlackApiError) and refused.code == "ratelimited"
                if attempt == 2 or not limited or wait_s > _WAIT_AT_MOST_S:
                    raise refused from error
                await asyncio.sleep(wait_s)
            else:
                data = answer.data
                return data if isinstance(data, dict) else {}, answer.headers
        raise AssertionError("the last attempt returns or raises")


def hello_of(frame: Json) -> SocketFacts:
    """What the first frame of a connection says."""
    if frame.get("type") == "hello":
        count = frame.get("num_connections")
        return SocketFacts(connections=count if isinstance(count, int) else 1)
    reason = str(frame.get("reason") or "")
    return SocketFacts(
        fault=Fault(said=f"Slack ended the connection ({reason or 'no reason given'})", code=reason)
    )


def _channel(item: Json) -> ChannelFacts:
    return ChannelFacts(
        name=str(item.get("name") or ""),
        id=str(item.get("id") or ""),
        member=bool(item.get("is_member")),
        archived=bool(item.get("is_archived")),
        private=bool(item.get("is_private")),
    )


def _fault(error: ChatError) -> Fault:
    cause = error.__cause__
    data = getattr(getattr(cause, "response", None), "data", None)
    needed = str(data.get("needed") or "") if isinstance(data, dict) else ""
    return Fault(said=str(error), fix=error.fix, code=error.code, needed=needed)
