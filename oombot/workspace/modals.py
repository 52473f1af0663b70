"""Modals as a person uses them: fill in, submit, close."""

from collections.abc import Mapping
from typing import Any, Final

from oombot.workspace.block_kit import checked_view
from oombot.workspace.clicks import Clicks, inputs_of, state_values, typed_values
from oombot.workspace.errors import NotAllowedError, NotOnScreenError, SlackError
from oombot.workspace.input_values import complaint
from oombot.workspace.socket_mode import SocketHub
from oombot.workspace.state import State
from oombot.workspace.views import push, ready_files, replace_view

TROUBLE: Final = "We had some trouble connecting. Try again?"


class Modals:
    """The open modal of each person."""

    def __init__(self, state: State, hub: SocketHub, clicks: Clicks) -> None:
        """Send submissions through this hub."""
        self._state = state
        self._hub = hub
        self._clicks = clicks

    def top(self, user_id: str) -> dict[str, Any] | None:
        """Return the modal a person sees, or nothing."""
        stack = self._state.views.get(user_id)
        return stack[-1] if stack else None

    async def submit(self, user_id: str, values: Mapping[str, Any]) -> dict[str, str]:
        """Submit the open modal; return the errors shown under fields, none when it was accepted."""
        view = self._open(user_id)
        if not view.get("submit"):
            raise NotAllowedError("this modal has no submit button")
        typed = typed_values(view, values)
        if complaints := _complaints(view, typed):
            return complaints
        payload = self._clicks.envelope("view_submission", user_id)
        payload |= {"view": {**view, "state": {"values": state_values(view, typed)}}, "response_urls": []}
        delivery = await self._hub.deliver("interactive", payload, accepts_payload=True)
        if not delivery.is_acked:
            return {"": TROUBLE}
        return self._obey(user_id, view, delivery.payload)

    async def close(self, user_id: str, *, everything: bool = False) -> None:
        """Close the open modal; the app hears of it only when it asked to."""
        view = self._open(user_id)
        self._state.views[user_id] = [] if everything else self._state.views[user_id][:-1]
        self._state.changed()
        if view["notify_on_close"]:
            payload = self._clicks.envelope("view_closed", user_id, trigger=False)
            await self._hub.deliver("interactive", payload | {"view": view, "is_cleared": everything})

    def _open(self, user_id: str) -> dict[str, Any]:
        view = self.top(user_id)
        if view is None:
            raise NotOnScreenError(f"{user_id} has no modal open")
        return view

    def _obey(self, user_id: str, view: dict[str, Any], reply: dict[str, Any]) -> dict[str, str]:
        action = reply.get("response_action")
        if action == "errors":
            errors = reply.get("errors")
            known = {block["block_id"] for block in view["blocks"] if block["type"] == "input"}
            return (
                dict(errors)
                if isinstance(errors, dict) and errors and set(errors) <= known
                else {"": TROUBLE}
            )
        if action not in {None, "clear", "update", "push"}:
            return {"": TROUBLE}
        if action in {"update", "push"}:
            return self._show(user_id, view, str(action), reply.get("view"))
        stack = self._state.views.get(user_id, [])
        self._state.views[user_id] = [] if action == "clear" else [v for v in stack if v["id"] != view["id"]]
        self._state.changed()
        return {}

    def _show(self, user_id: str, view: dict[str, Any], action: str, content: Any) -> dict[str, str]:
        try:
            checked = checked_view(content, kinds=("modal",), files=ready_files(self._state))
            if action == "push":
                push(self._state, user_id, checked)
            else:
                replace_view(self._state, user_id, view["id"], checked)
        except SlackError:
            return {"": TROUBLE}
        return {}


def _complaints(view: dict[str, Any], typed: Mapping[str, Any]) -> dict[str, str]:
    found = {block["block_id"]: complaint(block, typed[block["block_id"]]) for block in inputs_of(view)}
    return {block_id: words for block_id, words in found.items() if words}
