"""Things people write, and the Events API deliveries that follow, redelivered until acknowledged."""

import asyncio
from collections.abc import Sequence
from typing import Any

from oombot.workspace.directory import Channel
from oombot.workspace.errors import NotAllowedError, NotOnScreenError
from oombot.workspace.faults import Faults
from oombot.workspace.seed import APP_ID
from oombot.workspace.socket_mode import SocketHub
from oombot.workspace.state import State, random_id
from oombot.workspace.tasks import Tasks


class Events:
    """Delivers events and posts the messages of people."""

    def __init__(
        self, state: State, hub: SocketHub, faults: Faults, tasks: Tasks, redelivery_delays_s: Sequence[float]
    ) -> None:
        """Redeliver an event after each of the delays until it is acknowledged."""
        self._state = state
        self._hub = hub
        self._faults = faults
        self._tasks = tasks
        self._delays_s = tuple(redelivery_delays_s)

    def say(self, user_id: str, channel: Channel, text: str, thread_ts: str | None = None) -> dict[str, Any]:
        """Post what a person wrote, and tell the bot when it is mentioned where it is a member."""
        if channel.is_archived:
            raise NotAllowedError("nobody can write in an archived channel")
        if not text.strip():
            raise NotAllowedError("there is nothing to send")
        author = {"user": user_id, "team": self._state.directory.user(user_id).team_id, "text": text}
        thread = {"thread_ts": thread_ts} if thread_ts else {}
        message = self._state.timeline.add(channel.id, author | thread)
        bot_id = self._state.directory.bot.id
        if f"<@{bot_id}>" in text and bot_id in channel.members and not channel.is_im:
            event = {**message, "type": "app_mention", "channel": channel.id, "event_ts": message["ts"]}
            self.send(event, scope="app_mentions:read")
        return message

    def open_home(self, user_id: str) -> None:
        """Tell the bot that a person opened its home tab."""
        event: dict[str, Any] = {"type": "app_home_opened", "user": user_id, "tab": "home"}
        event |= {"channel": "D" + user_id[1:], "event_ts": self._state.timeline.next_ts()}
        if user_id in self._state.homes:
            event["view"] = self._state.homes[user_id]
        self.send(event)

    def invite_bot(self, user_id: str, channel: Channel) -> None:
        """Make the bot a member and tell it so."""
        bot_id = self._state.directory.bot.id
        self._state.directory.join(channel.id, bot_id)
        event = {"type": "member_joined_channel", "user": bot_id, "channel": channel.id, "inviter": user_id}
        kind = {"channel_type": "G" if channel.is_private else "C", "team": self._state.directory.team.id}
        self.send(event | kind | {"event_ts": self._state.timeline.next_ts()})
        self._state.changed()

    def send(self, event: dict[str, Any], *, scope: str | None = None) -> None:
        """Deliver an event in the background; without its scope the app is not subscribed."""
        if (scope is None or scope in self._state.scopes) and not self._faults.takes_event():
            self._tasks.start(self._deliver(self._wrapped(event)))

    def _wrapped(self, event: dict[str, Any]) -> dict[str, Any]:
        team_id, bot_id = self._state.directory.team.id, self._state.directory.bot.id
        grant = {"enterprise_id": None, "team_id": team_id, "user_id": bot_id, "is_bot": True}
        return {
            "token": self._state.verification_token,
            "team_id": team_id,
            "api_app_id": APP_ID,
            "event": event,
            "type": "event_callback",
            "event_id": random_id("Ev"),
            "event_time": int(self._state.clock()),
            "authorizations": [{**grant, "is_enterprise_install": False}],
            "is_ext_shared_channel": False,
            "event_context": random_id("4-", 20),
        }

    async def _deliver(self, payload: dict[str, Any]) -> None:
        reason = ""
        for attempt, delay_s in enumerate((0.0, *self._delays_s)):
            await asyncio.sleep(delay_s)
            delivery = await self._hub.deliver(
                "events_api", payload, retry_attempt=attempt, retry_reason=reason
            )
            if delivery.is_acked:
                return
            reason = "timeout" if delivery.outcome == "timeout" else "connection_failed"


def visible_channel(state: State, user_id: str, name: str) -> Channel:
    """Return a channel a person can see, by id or name."""
    channel = state.directory.channel_named(name)
    if channel is None or user_id not in state.directory.users or not state.directory.sees(user_id, channel):
        raise NotOnScreenError(f"{user_id} sees no channel {name}")
    return channel
