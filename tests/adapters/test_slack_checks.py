"""Asking Slack for doctor, against the local workspace: what is missing is told by its own name."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from oombot import app
from oombot.adapters.slack_checks import SlackChecks
from oombot.adapters.slack_press import Trial, press
from oombot.config import Tokens
from oombot.doctor.gathered import ChannelFacts, Fault, SlackFacts
from oombot.rights import Approvers
from oombot.views import Views
from oombot.workspace import Workspace, seed

NOBODY = Approvers()
VALUE = "nonce-0001"


@pytest.fixture
async def ws() -> AsyncIterator[Workspace]:
    """A workspace that allows many posts."""
    async with Workspace(post_burst=100, ack_timeout_s=60.0) as opened:
        yield opened


async def asked(
    ws: Workspace,
    *channels: str,
    approvers: Approvers = NOBODY,
    bot_runs: bool = False,
    ahead_s: float = 0.0,
    **token: str,
) -> SlackFacts:
    """What one look shows."""
    tokens = Tokens(**({"bot": ws.bot_token, "app": ws.app_token} | token))
    clock = lambda: time.time() + ahead_s  # noqa: E731
    async with SlackChecks(tokens, api_url=ws.api_url, clock=clock) as checks:
        return await checks.ask(channels=channels, approvers=approvers, bot_runs=bot_runs)


async def test_who_and_what(ws):
    """The workspace, the bot, the app and the token's scopes, from one call and its headers."""
    found = await asked(ws, "oncall")
    assert (found.team, found.bot_name, found.app_id) == ("Acme", "oombot", seed.APP_ID)
    assert found.scopes == ws.scopes
    assert found.channels["oncall"] == ChannelFacts(name="oncall", id=seed.ONCALL, member=True)
    assert (found.socket.connections, ws.connections) == (1, 0)


async def test_clock_against_slacks_date(ws):
    """A clock that is 100 s ahead of Slack's Date header is found so, within what is left open."""
    found = await asked(ws, ahead_s=100.0)
    assert abs(found.ahead_s - 100.0) <= found.uncertain_s + 0.6


@pytest.mark.parametrize(
    ("which", "token"),
    [("bot", "xoxb-wrong"), ("bot", ""), ("app", "xapp-wrong")],
    ids=["bot", "empty", "app"],
)
async def test_a_bad_token_is_told(ws, which, token):
    """A bot token that Slack refuses ends the look; a refused app token is told of Socket Mode alone."""
    found = await asked(ws, "oncall", **{which: token})
    if which == "bot":
        assert found.auth is not None
        assert (found.scopes, found.channels, found.socket) == (None, {}, None)
    else:
        assert (found.auth, found.socket.fault.code) == (None, "invalid_auth")


async def test_tokens_that_were_swapped(ws):
    """A bot token in the app token's place is refused as that."""
    found = await asked(ws, app=ws.bot_token)
    assert found.socket.fault.code == "not_allowed_token_type"


async def test_channels_of_every_kind(ws):
    """In it, not in it, archived, hidden and unknown are told apart, by name and by id."""
    found = await asked(
        ws, "oncall", "elsewhere", "old-alerts", "secret", "nowhere", seed.ELSEWHERE, seed.PRIVATE
    )
    facts = found.channels
    assert facts["oncall"].member
    assert not facts["elsewhere"].member
    assert facts["old-alerts"].archived
    assert not facts[seed.ELSEWHERE].member
    for hidden in ("secret", "nowhere", seed.PRIVATE):
        assert facts[hidden].code == "channel_not_found"


async def test_a_private_channel_with_the_bot_in_it(ws):
    """A private channel that the bot was invited to is found, as private."""
    directory = ws.directory
    secret = directory.channels[seed.PRIVATE]
    directory.channels[seed.PRIVATE] = replace(secret, members=secret.members | {seed.BOT_USER})
    facts = (await asked(ws, "secret")).channels["secret"]
    assert (facts.member, facts.private) == (True, True)


async def test_a_missing_scope_is_not_called_a_missing_channel(ws):
    """Without groups:read a public channel is found all the same; of a hidden one only the scope is said."""
    ws.scopes.discard("groups:read")
    found = await asked(ws, "oncall", "secret")
    assert found.channels["oncall"].member
    fault = found.channels["secret"]
    assert isinstance(fault, Fault)
    assert (fault.code, fault.needed) == ("missing_scope", "groups:read")


async def test_people_and_groups(ws):
    """Approvers are asked for one by one: who is gone, a bot, a guest or a stranger can not approve."""
    users = (seed.ADA, seed.DEACTIVATED, seed.OTHER_BOT, seed.GUEST, seed.STRANGER, "U0NOBODY1", "USLACKBOT")
    approvers = Approvers(users=users, groups=(seed.ONCALL_GROUP, "S0NOWHERE"))
    found = await asked(ws, approvers=approvers)
    assert {user: facts.barred for user, facts in found.people.items() if facts.fault is None} == {
        seed.ADA: "",
        seed.BEN: "",  # by the group
        seed.DEACTIVATED: "deactivated",
        seed.OTHER_BOT: "a bot",
        seed.GUEST: "a guest",
        seed.STRANGER: "of another workspace",
        "USLACKBOT": "a bot",
    }
    assert found.people["U0NOBODY1"].fault.code == "user_not_found"
    assert found.groups[seed.ONCALL_GROUP].members == (seed.ADA, seed.BEN)
    assert found.groups["S0NOWHERE"].fault.code == "no_such_subteam"


async def test_groups_without_their_scope(ws):
    """A user group that the token may not look up is a missing scope by name."""
    ws.scopes.discard("usergroups:read")
    found = await asked(ws, approvers=Approvers(groups=(seed.ONCALL_GROUP,)))
    fault = found.groups[seed.ONCALL_GROUP].fault
    assert (fault.code, fault.needed) == ("missing_scope", "usergroups:read")


async def test_socket_mode_that_is_off(ws):
    """Socket Mode switched off in the app is found by really connecting."""
    await ws.switch_socket_mode(on=False)
    assert (await asked(ws)).socket.fault.code == "link_disabled"


async def test_an_app_token_without_its_scope(ws):
    """An app token without connections:write is told as that."""
    ws.app_scopes.clear()
    fault = (await asked(ws)).socket.fault
    assert (fault.code, fault.needed) == ("missing_scope", "connections:write")


async def test_a_running_bot_is_left_alone(ws):
    """While an oombot runs, no connection is opened that could be given its presses."""
    found = await asked(ws, bot_runs=True)
    assert (found.socket.connections, found.socket.fault) == (None, None)


async def test_rate_limits_are_waited_for(ws):
    """A 429 is waited out once, as Slack asks, and the answer is whole."""
    ws.faults.rate_limit("conversations.list", retry_after_s=1)
    assert (await asked(ws, "oncall")).channels["oncall"].member


async def test_slack_that_is_not_there():
    """No answer at all is a fault of the first call, with what happened."""
    tokens = Tokens(bot="xoxb-1", app="xapp-1")
    async with SlackChecks(tokens, api_url="http://127.0.0.1:9/api/", clock=time.time) as checks:
        found = await checks.ask(channels=(), approvers=NOBODY, bot_runs=False)
    assert "did not answer" in found.auth.said


# ------------------------------------------------------------------ the real press
async def tried(ws: Workspace, *, wait_s: float, presses: bool, channel: str = seed.ONCALL):
    """Post the button, press it (or not), and give what came of it."""
    tokens = Tokens(bot=ws.bot_token, app=ws.app_token)
    standing = asyncio.Event()
    view = Views(app.templates()).press_test(value=VALUE, wait_s=wait_s)
    trial = Trial(channel_id=channel, view=view, value=VALUE, wait_s=wait_s, waiting=standing.set)

    async def person() -> None:
        await standing.wait()
        [message] = [one for one in ws.messages("oncall") if "oombot doctor" in one["text"]]
        if presses:
            assert await ws.click(seed.ADA, "oncall", message["ts"], "doctor_press", VALUE)

    async with (
        SlackChecks(tokens, api_url=ws.api_url, clock=time.time) as checks,
        asyncio.TaskGroup() as group,
    ):
        pressing = group.create_task(person())
        found = await press(checks, trial)
        if found.fault is not None:
            pressing.cancel()
    return found


async def test_a_press_that_arrives(ws):
    """A real press is acknowledged and told with who did it, and the message is gone afterwards."""
    found = await tried(ws, wait_s=60.0, presses=True)
    assert (found.pressed_by, found.fault) == ("ada", None)
    assert 0 <= found.after_s < 60
    assert ws.messages("oncall") == []


async def test_a_press_that_nobody_makes(ws):
    """Without a press the wait ends, says so, and takes the message away."""
    found = await tried(ws, wait_s=0.3, presses=False)
    assert (found.after_s, found.waited_s, found.fault) == (None, 0.3, None)
    assert ws.messages("oncall") == []


async def test_nothing_is_posted_where_another_bot_would_get_the_press(ws):
    """With another connection open the press is not tried: Slack might give it to that one."""
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {ws.app_token}"}
        async with session.post(ws.api_url + "apps.connections.open", headers=headers) as answer:
            url = (await answer.json())["url"]
        async with session.ws_connect(url) as socket:
            await socket.receive_json()
            found = await tried(ws, wait_s=5.0, presses=False)
    assert found.fault.code == "shared"
    assert ws.messages("oncall") == []


async def test_a_button_that_can_not_be_posted(ws):
    """Where the bot may not post, that is what is told."""
    found = await tried(ws, wait_s=5.0, presses=False, channel=seed.ELSEWHERE)
    assert found.fault.code == "not_in_channel"


async def test_no_press_without_socket_mode(ws):
    """Where Socket Mode is off, nothing is posted and that is told."""
    await ws.switch_socket_mode(on=False)
    found = await tried(ws, wait_s=5.0, presses=False)
    assert found.fault.code == "link_disabled"
    assert ws.messages("oncall") == []
