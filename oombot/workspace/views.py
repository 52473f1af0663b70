"""The views.* methods: modals in a stack of at most three, and one home tab per person."""

import secrets
from typing import Any, Final

from oombot.workspace.block_kit import checked_view
from oombot.workspace.calls import Call, Method
from oombot.workspace.errors import SlackError
from oombot.workspace.seed import APP_ID, BOT_ID
from oombot.workspace.state import State, random_id

STACK_MAX: Final = 3
_DEFAULTS: Final[dict[str, Any]] = {
    "private_metadata": "", "callback_id": "", "external_id": "", "clear_on_close": False, "notify_on_close": False,
    "submit": None, "close": None,
}  # fmt: skip


def open_view(call: Call) -> dict[str, Any]:
    """views.open: a new modal for the person who made the trigger."""
    view = _checked(call, ("modal",))
    user_id = call.state.exchange_trigger(_trigger(call))
    return {"view": push(call.state, user_id, view, fresh=True)}


def push_view(call: Call) -> dict[str, Any]:
    """views.push: one more modal on top of an open one."""
    view = _checked(call, ("modal",))
    user_id = call.state.exchange_trigger(_trigger(call))
    if not call.state.views.get(user_id):
        raise SlackError("not_found")
    return {"view": push(call.state, user_id, view)}


def update_view(call: Call) -> dict[str, Any]:
    """views.update: replace an open modal, guarded by `hash` when one is given."""
    view = _checked(call, ("modal", "home"))
    user_id, old = _find(call)
    if call.args.text("hash") and call.args.text("hash") != old["hash"]:
        raise SlackError("hash_conflict", view=old)
    if old["type"] == "home":
        call.state.homes[user_id] = updated(old, view)
        call.state.changed()
        return {"view": call.state.homes[user_id]}
    return {"view": replace_view(call.state, user_id, old["id"], view)}


def publish_view(call: Call) -> dict[str, Any]:
    """views.publish: the home tab of one person."""
    user = call.state.directory.user(call.args.required("user_id"))
    view = _checked(call, ("home",))
    old = call.state.homes.get(user.id)
    if old and call.args.text("hash") and call.args.text("hash") != old["hash"]:
        raise SlackError("hash_conflict", view=old)
    call.state.homes[user.id] = updated(old, view) if old else _new_view(call.state, view, None)
    call.state.changed()
    return {"view": call.state.homes[user.id]}


def push(state: State, user_id: str, view: dict[str, Any], *, fresh: bool = False) -> dict[str, Any]:
    """Put a checked view on a person's stack; `fresh` starts a new stack."""
    stack = [] if fresh else state.views.get(user_id, [])
    if len(stack) >= STACK_MAX:
        raise SlackError("push_limit_reached")
    _check_external_id(state, view, None)
    opened = _new_view(state, view, stack[-1] if stack else None)
    if not stack:
        opened["root_view_id"] = opened["id"]
    state.views[user_id] = [*stack, opened]
    state.changed()
    return opened


def replace_view(state: State, user_id: str, view_id: str, view: dict[str, Any]) -> dict[str, Any]:
    """Replace one view of a person's stack."""
    _check_external_id(state, view, view_id)
    stack = state.views[user_id]
    state.views[user_id] = [updated(old, view) if old["id"] == view_id else old for old in stack]
    state.changed()
    return next(new for new in state.views[user_id] if new["id"] == view_id)


def updated(old: dict[str, Any], view: dict[str, Any]) -> dict[str, Any]:
    """Return a view with new content, the old identity and a new hash."""
    kept = {
        key: old[key] for key in ("id", "root_view_id", "previous_view_id", "app_id", "bot_id", "team_id")
    }
    return {**_DEFAULTS, **view, **kept, "hash": _hash(), "state": {"values": {}}}


def ready_files(state: State) -> set[str]:
    """Return the ids of the files an image block may refer to."""
    return {file.id for file in state.files.values() if file.is_complete}


def _new_view(state: State, view: dict[str, Any], previous: dict[str, Any] | None) -> dict[str, Any]:
    identity = {"id": random_id("V"), "team_id": state.directory.team.id, "app_id": APP_ID, "bot_id": BOT_ID}
    links = {
        "previous_view_id": previous and previous["id"],
        "root_view_id": previous and previous["root_view_id"],
    }
    return {**_DEFAULTS, **view, **identity, **links, "hash": _hash(), "state": {"values": {}}}


def _hash() -> str:
    return f"{secrets.randbelow(10**10)}.{secrets.token_hex(4)}"


def _checked(call: Call, kinds: tuple[str, ...]) -> dict[str, Any]:
    return checked_view(call.args.json("view"), kinds=kinds, files=ready_files(call.state))


def _trigger(call: Call) -> str:
    return call.args.text("trigger_id") or call.args.required("interactivity_pointer", "invalid_trigger_id")


def _find(call: Call) -> tuple[str, dict[str, Any]]:
    wanted, external = call.args.text("view_id"), call.args.text("external_id")
    if not wanted and not external:
        raise SlackError("invalid_arguments", messages=["[ERROR] missing required field: view_id"])
    opened = [(user_id, view) for user_id, stack in call.state.views.items() for view in stack]
    for user_id, view in [*opened, *call.state.homes.items()]:
        if view["id"] == wanted or (external and view["external_id"] == external):
            return user_id, view
    raise SlackError("not_found")


def _check_external_id(state: State, view: dict[str, Any], view_id: str | None) -> None:
    external = view.get("external_id")
    taken = (
        v
        for stack in state.views.values()
        for v in stack
        if v["external_id"] == external and v["id"] != view_id
    )
    if external and next(taken, None):
        raise SlackError("duplicate_external_id")


METHODS: Final = {
    "views.open": Method(run=open_view),
    "views.push": Method(run=push_view),
    "views.update": Method(run=update_view),
    "views.publish": Method(run=publish_view),
}
