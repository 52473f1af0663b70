"""The users.*, usergroups.* and auth methods: who is who."""

from typing import Any, Final

from oombot.workspace.calls import Call, Method
from oombot.workspace.directory import User
from oombot.workspace.errors import SlackError
from oombot.workspace.seed import APP_ID, BOT_ID


def api_test(call: Call) -> dict[str, Any]:
    """api.test: answers with its arguments."""
    if error := call.args.text("error"):
        raise SlackError(error)
    return {"args": {key: value for key, value in call.args.raw.items() if key != "token"}}


def auth_test(call: Call) -> dict[str, Any]:
    """auth.test: who the bot is."""
    directory = call.state.directory
    team, bot = directory.team, directory.bot
    who = {
        "user": bot.name,
        "user_id": bot.id,
        "bot_id": BOT_ID,
        "app_id": APP_ID,
        "is_enterprise_install": False,
    }
    return {"url": f"{call.state.base_url}/", "team": team.name, "team_id": team.id, **who}


def user_info(call: Call) -> dict[str, Any]:
    """users.info."""
    return {"user": _shown(call, call.state.directory.user(call.args.required("user", "user_not_found")))}


def list_users(call: Call) -> dict[str, Any]:
    """users.list: everybody, deleted users, bots and strangers included."""
    members = [_shown(call, user) for user in call.state.directory.users.values()]
    limit = call.args.number("limit", 1000, low=1, high=1000)
    start = call.args.number("cursor", 0, low=0, high=len(members))
    following = str(start + limit) if start + limit < len(members) else ""
    page = {"members": members[start : start + limit], "cache_ts": int(call.state.clock())}
    return {**page, "response_metadata": {"next_cursor": following}}


def lookup_by_email(call: Call) -> dict[str, Any]:
    """users.lookupByEmail: active users only."""
    wanted = call.args.required("email").lower()
    found = (u for u in call.state.directory.users.values() if u.email.lower() == wanted and not u.deleted)
    user = next(found, None)
    if user is None:
        raise SlackError("users_not_found")
    return {"user": _shown(call, user)}


def list_groups(call: Call) -> dict[str, Any]:
    """usergroups.list."""
    with_disabled, with_users = call.args.flag("include_disabled"), call.args.flag("include_users")
    groups = [group for group in call.state.directory.groups.values() if group.is_active or with_disabled]
    team_id = call.state.directory.team.id
    return {"usergroups": [group.as_json(team_id, with_users=with_users) for group in groups]}


def list_group_users(call: Call) -> dict[str, Any]:
    """usergroups.users.list: the ids of a group's members."""
    group = call.state.directory.groups.get(call.args.required("usergroup"))
    if group is None or not (group.is_active or call.args.flag("include_disabled")):
        raise SlackError("no_such_subteam")
    return {"users": list(group.users)}


def open_socket(call: Call) -> dict[str, Any]:
    """apps.connections.open: a WebSocket URL that works once; the scope is the app-level token's."""
    if "connections:write" not in call.state.app_scopes:
        provided = ",".join(sorted(call.state.app_scopes))
        raise SlackError("missing_scope", needed="connections:write", provided=provided)
    socket_base = call.state.base_url.replace("http", "ws", 1)
    return {"url": f"{socket_base}/link/?ticket={call.state.new_ticket()}&app_id={APP_ID}"}


def _shown(call: Call, user: User) -> dict[str, Any]:
    return user.as_json(with_email="users:read.email" in call.state.scopes)


METHODS: Final = {
    "api.test": Method(run=api_test, caller="any", per_minute=600),
    "auth.test": Method(run=auth_test, per_minute=600),
    "apps.connections.open": Method(run=open_socket, caller="app"),
    "users.info": Method(run=user_info, scope="users:read"),
    "users.list": Method(run=list_users, scope="users:read", per_minute=20),
    "users.lookupByEmail": Method(run=lookup_by_email, scope="users:read.email", per_minute=50),
    "usergroups.list": Method(run=list_groups, scope="usergroups:read", per_minute=20),
    "usergroups.users.list": Method(run=list_group_users, scope="usergroups:read", per_minute=20),
}
