"""Buttons and menus as a person uses them: block_actions."""

from collections.abc import Iterator, Mapping
from typing import Any

from oombot.workspace.block_kit import interactive_elements
from oombot.workspace.chat import without_metadata
from oombot.workspace.commands import channel_name
from oombot.workspace.directory import Channel
from oombot.workspace.errors import NotOnScreenError
from oombot.workspace.input_values import chosen, initial
from oombot.workspace.seed import APP_ID
from oombot.workspace.socket_mode import SocketHub
from oombot.workspace.state import State


class Clicks:
    """Turns a click into an interaction; clicks of different people are not put in order."""

    def __init__(self, state: State, hub: SocketHub) -> None:
        """Send clicks through this hub."""
        self._state = state
        self._hub = hub

    async def in_message(  # noqa: PLR0917 (a click has that many parts)
        self,
        user_id: str,
        channel: Channel,
        ts: str,
        action_id: str,
        value: Any = None,
        block_id: str | None = None,
    ) -> bool:
        """Use an element of a message and tell whether the app acknowledged; anyone who sees it may."""
        message, is_ephemeral = self._message(user_id, channel, ts)
        block, element = _find(_blocks(message), action_id, value, block_id)
        in_attachment = block not in message.get("blocks", [])
        container: dict[str, Any] = {
            "type": "message_attachment" if in_attachment else "message",
            "message_ts": ts,
        }
        container |= {"channel_id": channel.id, "is_ephemeral": is_ephemeral}
        if message.get("thread_ts"):
            container["thread_ts"] = message["thread_ts"]
        payload = self.envelope("block_actions", user_id) | {
            "container": container,
            "channel": {"id": channel.id, "name": channel_name(channel)},
            "state": {"values": current_values(_blocks(message))},
            "response_url": self._state.new_response_url(
                "actions", channel.id, user_id, message_ts=ts, is_ephemeral=is_ephemeral
            ),
            "actions": [self._action(block, element, value)],
        }
        if not is_ephemeral:
            payload["message"] = without_metadata(message)
        return (await self._hub.deliver("interactive", payload)).is_acked

    async def in_view(  # noqa: PLR0917 (a click has that many parts)
        self,
        user_id: str,
        view: dict[str, Any],
        action_id: str,
        value: Any,
        block_id: str | None,
        typed: Mapping[str, Any],
    ) -> bool:
        """Use an element of a modal or home tab; what is typed there goes along, and there is no response_url."""
        block, element = _find(view["blocks"], action_id, value, block_id)
        payload = self.envelope("block_actions", user_id) | {
            "container": {"type": "view", "view_id": view["id"]},
            "view": {**view, "state": {"values": state_values(view, typed_values(view, typed))}},
            "actions": [self._action(block, element, value)],
        }
        return (await self._hub.deliver("interactive", payload)).is_acked

    def envelope(self, kind: str, user_id: str, *, trigger: bool = True) -> dict[str, Any]:
        """Return the fields all interactions share."""
        directory = self._state.directory
        user = directory.user(user_id)
        who = {"id": user.id, "username": user.name, "name": user.name, "team_id": user.team_id}
        shared = {
            "type": kind,
            "team": {"id": directory.team.id, "domain": directory.team.domain},
            "user": who,
            "api_app_id": APP_ID,
            "token": self._state.verification_token,
            "enterprise": None,
            "is_enterprise_install": False,
        }
        return shared | ({"trigger_id": self._state.new_trigger(user_id)} if trigger else {})

    def _action(self, block: dict[str, Any], element: dict[str, Any], value: Any) -> dict[str, Any]:
        names: dict[str, Any] = {
            "type": element["type"],
            "action_id": element["action_id"],
            "block_id": block["block_id"],
        }
        shown: dict[str, Any] = {
            key: element[key] for key in ("text", "style", "confirm", "placeholder", "url") if key in element
        }
        return {**names, **shown, **chosen(element, value), "action_ts": self._state.timeline.next_ts()}

    def _message(self, user_id: str, channel: Channel, ts: str) -> tuple[dict[str, Any], bool]:
        ephemeral = self._state.timeline.find_ephemeral(ts)
        if ephemeral is not None and ephemeral.user_id == user_id and ephemeral.channel_id == channel.id:
            return ephemeral.message, True
        message = self._state.timeline.find(channel.id, ts)
        if message is None:
            raise NotOnScreenError(f"{user_id} sees no message {ts} in #{channel.name}")
        return message, False


def current_values(blocks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return `state.values`: what every stateful element of some blocks holds untouched."""
    values: dict[str, dict[str, Any]] = {}
    for block in blocks:
        for element in interactive_elements(block):
            if element["type"] not in {"button", "overflow"}:
                held = {"type": element["type"], **chosen(element, initial(element))}
                values.setdefault(block["block_id"], {})[element["action_id"]] = held
    return values


def inputs_of(view: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the input blocks of a view."""
    return [block for block in view["blocks"] if block["type"] == "input"]


def typed_values(view: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return block_id → value; values come as {block_id: value} or {block_id: {action_id: value}}."""
    typed: dict[str, Any] = {}
    for block in inputs_of(view):
        element = block["element"]
        given = values.get(block["block_id"], initial(element))
        typed[block["block_id"]] = given.get(element["action_id"]) if isinstance(given, dict) else given
    if unknown := set(values) - set(typed):
        raise NotOnScreenError(f"the modal has no input block {min(unknown)}")
    return typed


def state_values(view: dict[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return `state.values` of a view with what was typed into its inputs."""
    values = current_values(view["blocks"])
    for block in inputs_of(view):
        element = block["element"]
        held = {"type": element["type"], **chosen(element, typed[block["block_id"]])}
        values[block["block_id"]] = {element["action_id"]: held}
    return values


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    attached = [
        block for attachment in message.get("attachments", []) for block in attachment.get("blocks", [])
    ]
    return [*message.get("blocks", []), *attached]


def _matching(
    blocks: list[dict[str, Any]], action_id: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for block in blocks:
        for element in interactive_elements(block):
            if element["action_id"] == action_id:
                yield block, element


def _find(
    blocks: list[dict[str, Any]], action_id: str, value: Any, block_id: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    for block, element in _matching(blocks, action_id):
        right_value = element["type"] != "button" or value is None or element.get("value") == value
        if right_value and block_id in {None, block["block_id"]}:
            return block, element
    raise NotOnScreenError(f"no element {action_id} with value {value!r} on screen")
