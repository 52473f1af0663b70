"""Tokens, scopes, limits and the directory methods."""

from dataclasses import replace

import aiohttp
import pytest

from oombot.workspace import seed


async def test_unknown_method(api):
    """A method Slack does not have is refused by name."""
    assert (await api("chat.postNothing")).error == "unknown_method"


async def test_missing_token(ws, http):
    """A call without any token is not authenticated."""
    async with http.post(ws.api_url + "auth.test") as answer:
        assert (await answer.json())["error"] == "not_authed"


async def test_unknown_token(api):
    """A token this workspace never issued is invalid."""
    assert (await api("auth.test", token="xoxb-nobody")).error == "invalid_auth"


async def test_app_token_is_the_wrong_kind_for_the_web_api(ws, api):
    """The app-level token opens sockets and nothing else."""
    assert (await api("auth.test", token=ws.app_token)).error == "not_allowed_token_type"


async def test_bot_token_is_the_wrong_kind_for_sockets(api):
    """The bot token does not open sockets."""
    assert (await api("apps.connections.open")).error == "not_allowed_token_type"


async def test_app_token_counts_in_the_header_only(ws, http):
    """`apps.connections.open` ignores a token parameter."""
    async with http.post(ws.api_url + "apps.connections.open", data={"token": ws.app_token}) as answer:
        assert (await answer.json())["error"] == "not_authed"


async def test_token_parameter(ws, http):
    """Other methods take the token as a form parameter too."""
    async with http.post(ws.api_url + "auth.test", data={"token": ws.bot_token}) as answer:
        assert (await answer.json())["user_id"] == seed.BOT_USER


async def test_token_prefixes(ws):
    """Bot and app tokens carry the prefixes that tell them apart."""
    assert (ws.bot_token[:5], ws.app_token[:5]) == ("xoxb-", "xapp-")


async def test_missing_scope_says_what_is_needed(ws, api):
    """A lacking scope is named, with those provided."""
    ws.scopes.discard("chat:write")
    answer = await api("chat.postMessage", channel=seed.ONCALL, text="x")
    assert (answer.error, answer.needed) == ("missing_scope", "chat:write")
    assert "users:read" in answer.provided.split(",")


@pytest.mark.parametrize(
    ("method", "arguments", "scope"),
    [
        ("users.list", {}, "users:read"),
        ("users.lookupByEmail", {"email": "ada@acme.example"}, "users:read.email"),
        ("usergroups.users.list", {"usergroup": seed.ONCALL_GROUP}, "usergroups:read"),
        ("conversations.info", {"channel": seed.ONCALL}, "channels:read"),
        ("conversations.history", {"channel": seed.ONCALL}, "channels:history"),
        ("conversations.open", {"users": seed.ADA}, "im:write"),
        ("files.info", {"file": "F1"}, "files:read"),
    ],
)
async def test_scope_of_each_method(ws, api, method, arguments, scope):
    """Every method family needs its own scope."""
    ws.scopes.discard(scope)
    assert scope == (await api(method, **arguments)).needed


@pytest.mark.parametrize("verb", ["GET", "POST"])
async def test_forms_and_queries(ws, http, verb):
    """Arguments may come as a form or in the query."""
    where = {"params": {"user": seed.BEN}} if verb == "GET" else {"data": {"user": seed.BEN}}
    headers = {"Authorization": f"Bearer {ws.bot_token}"}
    async with http.request(verb, ws.api_url + "users.info", headers=headers, **where) as answer:
        assert (await answer.json())["user"]["real_name"] == "Ben Ito"


async def test_broken_json(ws, http):
    """A body that is not JSON is refused."""
    headers = {"Authorization": f"Bearer {ws.bot_token}", "Content-Type": "application/json"}
    async with http.post(ws.api_url + "chat.postMessage", data=b"{", headers=headers) as answer:
        assert (await answer.json())["error"] == "invalid_json"


async def test_posting_is_limited_per_channel_and_second(clock):
    """Beyond a small burst one message a second and channel goes through; other channels are not blocked."""
    from oombot.workspace import Workspace

    async with Workspace(clock=clock, post_burst=2) as ws, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {ws.bot_token}"}

        async def post(channel):
            body = {"channel": channel, "text": "x"}
            async with session.post(ws.api_url + "chat.postMessage", json=body, headers=headers) as answer:
                return answer.status, answer.headers.get("Retry-After"), (await answer.json()).get("error")

        statuses = [(await post(seed.ONCALL))[0] for _ in range(2)]
        assert statuses == [200, 200]
        assert await post(seed.ONCALL) == (429, "1", "ratelimited")
        assert (await post(seed.GENERAL))[0] == 200
        clock.move(1)
        assert (await post(seed.ONCALL))[0] == 200


async def test_update_is_tier_3(api, post):
    """Fifty edits a minute pass, the next is told to wait; posting goes on."""
    ts = (await post(text="x")).ts
    answers = [await api("chat.update", channel=seed.ONCALL, ts=ts, text=str(n)) for n in range(51)]
    assert [answer.status for answer in answers] == [200] * 50 + [429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert (await post(text="y")).ok


async def test_group_members_are_ids(api):
    """The members of @oncall come as user ids."""
    assert (await api("usergroups.users.list", usergroup=seed.ONCALL_GROUP)).users == [seed.ADA, seed.BEN]


async def test_unknown_group(api):
    """A group that does not exist is refused."""
    assert (await api("usergroups.users.list", usergroup="S0NOBODY1")).error == "no_such_subteam"


async def test_groups_are_listed(api):
    """The group's handle and size are known."""
    (group,) = (await api("usergroups.list", include_users=True)).usergroups
    assert (group["handle"], group["user_count"], group["users"]) == ("oncall", 2, [seed.ADA, seed.BEN])


async def test_directory_holds_everybody_an_approver_check_must_refuse(api):
    """Bots, the deactivated, guests and people of another team are in the directory and recognisable."""
    members = {member["id"]: member for member in (await api("users.list")).members}
    assert members[seed.OTHER_BOT]["is_bot"]
    assert members[seed.DEACTIVATED]["deleted"]
    assert members[seed.GUEST]["is_restricted"]
    assert members[seed.STRANGER]["is_stranger"]
    assert members[seed.STRANGER]["team_id"] != seed.TEAM.id


async def test_users_list_is_paged(api):
    """A limit gives a cursor to the rest."""
    first = await api("users.list", limit=3)
    rest = await api("users.list", limit=100, cursor=first.response_metadata["next_cursor"])
    assert len(first.members) + len(rest.members) == 9


async def test_unknown_user(api):
    """Nobody is nobody."""
    assert (await api("users.info", user="U0NOBODY1")).error == "user_not_found"


async def test_lookup_by_email(ws, api):
    """With its scope an address finds an active user."""
    ws.scopes.add("users:read.email")
    assert (await api("users.lookupByEmail", email="BEN@acme.example")).user["id"] == seed.BEN
    assert (await api("users.lookupByEmail", email="nobody@acme.example")).error == "users_not_found"


async def test_public_channel_without_the_bot_is_visible(api):
    """conversations.info answers for a public channel the bot is not in."""
    assert not (await api("conversations.info", channel=seed.ELSEWHERE)).channel["is_member"]


async def test_private_channel_without_the_bot_does_not_exist(api):
    """A private channel the bot is not in is not found."""
    assert (await api("conversations.info", channel=seed.PRIVATE)).error == "channel_not_found"


async def test_conversations_list_hides_foreign_private_channels(api):
    """The list holds public channels, archived ones unless excluded, and no private one without the bot."""
    answer = await api("conversations.list", types="public_channel,private_channel", exclude_archived=True)
    assert [channel["name"] for channel in answer.channels] == ["oncall", "general", "db-oncall", "elsewhere"]


async def test_auth_test_names_the_bot(ws, api):
    """auth.test answers team, user and bot ids."""
    answer = await api("auth.test")
    assert (seed.TEAM.id, seed.BOT_USER, seed.BOT_ID) == (answer.team_id, answer.user_id, answer.bot_id)


async def test_permalink_opens_the_page(ws, api, post, http):
    """A permalink leads to the message on the workspace's page."""
    ts = (await post(text="x")).ts
    link = (await api("chat.getPermalink", channel=seed.ONCALL, message_ts=ts)).permalink
    assert link == f"{ws.url}/archives/{seed.ONCALL}/p{ts.replace('.', '')}"
    async with http.get(link, allow_redirects=False) as answer:
        assert f"ts={ts}" in answer.headers["Location"]


async def test_permalink_of_nothing(api):
    """There is no link to a message that does not exist."""
    assert (
        await api("chat.getPermalink", channel=seed.ONCALL, message_ts="1.000000")
    ).error == "message_not_found"


async def test_api_test_needs_no_token(ws, http):
    """api.test answers with its arguments, or with the error asked for."""
    async with http.post(ws.api_url + "api.test", data={"a": "b"}) as answer:
        assert (await answer.json())["args"] == {"a": "b"}
    async with http.post(ws.api_url + "api.test", data={"error": "my_error"}) as answer:
        assert (await answer.json())["error"] == "my_error"


@pytest.mark.parametrize(
    ("method", "arguments", "error"),
    [
        ("conversations.list", {"types": "everything"}, "invalid_types"),
        ("conversations.list", {"limit": "many"}, "invalid_limit"),
        ("conversations.history", {"channel": seed.ONCALL, "limit": 1000}, "invalid_limit"),
        ("conversations.open", {"users": seed.DEACTIVATED}, "user_disabled"),
        ("conversations.open", {}, "users_list_not_supplied"),
        ("usergroups.users.list", {}, "invalid_arguments"),
        ("views.update", {"view": {"type": "home", "blocks": []}}, "invalid_arguments"),
    ],
)
async def test_bad_arguments(ws, api, method, arguments, error):
    """Arguments that make no sense are refused by name."""
    ws.scopes.add("im:write")
    assert (await api(method, **arguments)).error == error


async def test_disabled_group(ws, api):
    """A disabled group has no members, unless asked for."""
    ws.directory.put_group(replace(ws.directory.groups[seed.ONCALL_GROUP], is_active=False))
    assert (await api("usergroups.users.list", usergroup=seed.ONCALL_GROUP)).error == "no_such_subteam"
    assert (await api("usergroups.list")).usergroups == []
    assert (await api("usergroups.users.list", usergroup=seed.ONCALL_GROUP, include_disabled=True)).ok


async def test_new_people(ws, api):
    """Tests may add people."""
    ws.directory.put_user(replace(ws.directory.users[seed.ADA], id="U0NEW0001", name="new"))
    assert (await api("users.info", user="U0NEW0001")).user["name"] == "new"


async def test_json_must_be_an_object(ws, http):
    """A JSON body that is no object is refused."""
    headers = {"Authorization": f"Bearer {ws.bot_token}"}
    async with http.post(ws.api_url + "auth.test", json=[1], headers=headers) as answer:
        assert (await answer.json())["error"] == "json_not_object"
