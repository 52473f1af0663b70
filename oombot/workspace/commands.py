"""Slash commands as a person types them."""

from typing import Any

from oombot.workspace.directory import Channel
from oombot.workspace.errors import SlackError
from oombot.workspace.response_urls import respond
from oombot.workspace.seed import APP_ID, SLACKBOT
from oombot.workspace.socket_mode import SocketHub
from oombot.workspace.state import ResponseUrl, State


class Commands:
    """Sends commands to the app and shows its immediate answer."""

    def __init__(self, state: State, hub: SocketHub, names: frozenset[str]) -> None:
        """Know the commands the app has registered."""
        self._state = state
        self._hub = hub
        self._names = names

    async def run(
        self, user_id: str, channel: Channel, line: str, thread_ts: str | None = None
    ) -> dict[str, Any] | None:
        """Run a command line and return the message the person sees at once, if any."""
        command, _, text = line.strip().partition(" ")
        if command not in self._names or "commands" not in self._state.scopes:
            return self._notice(user_id, channel, f"{command} is not a valid command.")
        if thread_ts:
            return self._notice(user_id, channel, f"{command} is not supported in threads. Sorry!")
        if channel.is_archived:
            return self._notice(user_id, channel, "This channel is archived.")
        payload = self._payload(user_id, channel, command, text.strip())
        delivery = await self._hub.deliver("slash_commands", payload, accepts_payload=True)
        if not delivery.is_acked:
            error = "operation_timeout" if delivery.outcome == "timeout" else "dispatch_failed"
            return self._notice(user_id, channel, f'{command} failed with the error "{error}"')
        return self._answer(user_id, channel, line.strip(), delivery.payload)

    def _answer(
        self, user_id: str, channel: Channel, line: str, reply: dict[str, Any]
    ) -> dict[str, Any] | None:
        if reply.get("response_type") == "in_channel":
            self._state.timeline.add(channel.id, {"user": user_id, "text": line, "subtype": "slash_command"})
        if set(reply) <= {"response_type"}:
            return None
        here = ResponseUrl(channel_id=channel.id, user_id=user_id, expires_at=0, uses_left=0)
        try:
            return respond(self._state, here, reply)
        except SlackError:
            command = line.partition(" ")[0]
            return self._notice(
                user_id, channel, f'{command} failed with the error "invalid_command_response"'
            )

    def _payload(self, user_id: str, channel: Channel, command: str, text: str) -> dict[str, Any]:
        directory = self._state.directory
        return {
            "token": self._state.verification_token,
            "team_id": directory.team.id,
            "team_domain": directory.team.domain,
            "channel_id": channel.id,
            "channel_name": channel_name(channel),
            "user_id": user_id,
            "user_name": directory.user(user_id).name,
            "command": command,
            "text": text,
            "api_app_id": APP_ID,
            "is_enterprise_install": "false",
            "response_url": self._state.new_response_url("commands", channel.id, user_id),
            "trigger_id": self._state.new_trigger(user_id),
        }

    def _notice(self, user_id: str, channel: Channel, text: str) -> dict[str, Any]:
        return self._state.timeline.add_ephemeral(user_id, channel.id, {"user": SLACKBOT, "text": text})


def channel_name(channel: Channel) -> str:
    """Return a channel's name as payloads give it: private ones stay nameless."""
    return "directmessage" if channel.is_im else "privategroup" if channel.is_private else channel.name
