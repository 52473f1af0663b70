"""Doctor's judgement of Slack and of the policy: what stops, what is only worse, and what is not known."""

import pytest
import yaml

from oombot.app import data_text
from oombot.doctor.gathered import ChannelFacts, Fault, PersonFacts, PressFacts, SlackFacts, SocketFacts
from oombot.doctor.scopes import BY_GROUP, NEEDED, USEFUL
from tests.doctor.given import ADA, APPLY, BEN, PEOPLE, a_group, a_slack, gathered, judged, states

GROUP = "mode: apply\npolicy: {approvers: {groups: [S0ONCALL1]}}\nhosts: [{name: web01}]\n"


def test_good_order_is_ok_throughout() -> None:
    """A workspace where all is set up has no line that is not ok, but for the press nobody tried."""
    for check in ("slack", "scopes", "channels", "socket_mode", "policy"):
        assert set(states(check, gathered()).values()) == {"ok"}, check
    assert states("button", gathered()) == {"press": "unknown"}


def test_the_manifest_asks_for_exactly_these_scopes() -> None:
    """What doctor wants is what the manifest of `oombot slack manifest` gives."""
    manifest = yaml.safe_load(data_text("manifest.yaml"))
    assert set(manifest["oauth_config"]["scopes"]["bot"]) == {*NEEDED, *USEFUL, BY_GROUP}


@pytest.mark.parametrize("scope", sorted(NEEDED))
def test_a_needed_scope_that_is_missing_is_wrong(scope) -> None:
    """Each needed scope is missed by name, with what stops."""
    found = a_slack(scopes=frozenset({*NEEDED, *USEFUL} - {scope}))
    line = judged("scopes", gathered(slack=found))[f"scope {scope}"]
    assert (line.state, line.why, "A0OOMBOT1" in line.fix) == ("wrong", NEEDED[scope], True)


@pytest.mark.parametrize("scope", sorted(USEFUL))
def test_a_useful_scope_that_is_missing_is_a_warning(scope) -> None:
    """Each useful scope is missed by name, as a warning."""
    found = a_slack(scopes=frozenset({*NEEDED, *USEFUL} - {scope}))
    assert states("scopes", gathered(slack=found))[f"scope {scope}"] == "warning"


def test_user_groups_want_their_scope_only_where_they_are_named() -> None:
    """usergroups:read is wanted where the policy names a group, and not missed elsewhere."""
    assert f"scope {BY_GROUP}" not in states("scopes", gathered())
    assert states("scopes", gathered(GROUP))[f"scope {BY_GROUP}"] == "wrong"


def test_scopes_beyond_are_told() -> None:
    """A scope that oombot never uses is named: a stolen token could use it."""
    found = a_slack(scopes=frozenset({*NEEDED, *USEFUL, "admin"}))
    assert "admin" in judged("scopes", gathered(slack=found))["scopes_beyond"].what


def test_scopes_that_slack_does_not_tell_are_not_known() -> None:
    """Without the header nothing is missed."""
    assert states("scopes", gathered(slack=a_slack(scopes=None))) == {"scopes": "unknown"}


@pytest.mark.parametrize(
    ("facts", "state", "said"),
    [
        (ChannelFacts(name="oncall", id="C1", member=False), "wrong", "@oombot is not in #oncall"),
        (ChannelFacts(name="oncall", id="C1", member=True, archived=True), "wrong", "archived"),
        (Fault(said="no", code="channel_not_found"), "wrong", "or it is private"),
        (
            Fault(said="no", code="missing_scope", needed="groups:read"),
            "unknown",
            "lacks the scope groups:read",
        ),
        (Fault(said="Slack did not answer"), "unknown", "did not answer"),
    ],
)
def test_channels(facts, state, said) -> None:
    """Not invited, archived, hidden and a missing scope are four different things."""
    line = judged("channels", gathered(slack=a_slack(channels={"oncall": facts})))["channel oncall"]
    assert (line.state, said in line.what, "web01" in line.why) == (state, True, True)


@pytest.mark.parametrize(
    ("socket", "item", "state", "said"),
    [
        (SocketFacts(), "connection", "ok", "left alone"),
        (SocketFacts(connections=2), "connection", "unknown", "another one of this app"),
        (SocketFacts(connections=4), "connection", "warning", "3 other connections"),
        (SocketFacts(fault=Fault(said="x", code="missing_scope")), "app_token", "wrong", "connections:write"),
        (SocketFacts(fault=Fault(said="x", code="link_disabled")), "connection", "wrong", "switched off"),
        (SocketFacts(fault=Fault(said="x", code="invalid_auth")), "app_token", "wrong", "invalid_auth"),
        (SocketFacts(fault=Fault(said="x", code="too_many_websockets")), "connection", "wrong", "x"),
        (
            SocketFacts(fault=Fault(said="x", code="forbidden_team")),
            "connection",
            "wrong",
            "could not be opened",
        ),
        (SocketFacts(fault=Fault(said="timed out")), "connection", "wrong", "timed out"),
    ],
)
def test_socket_mode(socket, item, state, said) -> None:
    """Token, switch, network and other bots are told apart."""
    line = judged("socket_mode", gathered(slack=a_slack(socket=socket)))[item]
    assert (line.state, said in line.what) == (state, True)


@pytest.mark.parametrize(
    ("press", "state", "said"),
    [
        (PressFacts(pressed_by="ada", after_s=1.24), "ok", "a press of ada arrived after 1.2 s"),
        (PressFacts(waited_s=120.0), "wrong", "no press arrived within 120 s"),
        (PressFacts(fault=Fault(said="another one", fix="stop it", code="shared")), "unknown", "not tried"),
        (PressFacts(fault=Fault(said="not in channel")), "wrong", "could not be posted"),
    ],
)
def test_button(press, state, said) -> None:
    """A press proves it; none after waiting is wrong; what was not tried is not known."""
    line = judged("button", gathered(slack=a_slack(press=press)))["press"]
    assert (line.state, said in line.what) == (state, True)


@pytest.mark.parametrize(
    "slack",
    [
        SlackFacts(token_problems=("SLACK_BOT_TOKEN is not set",)),
        SlackFacts(auth=Fault(said="Slack refused: invalid_auth", fix="take another")),
    ],
)
def test_without_a_token_only_that_is_told(slack) -> None:
    """A missing or refused token is wrong, and nothing is guessed about what it would have shown."""
    found = gathered(slack=slack)
    assert set(states("slack", found).values()) == {"wrong"}
    for check in ("scopes", "channels", "socket_mode", "button"):
        assert states(check, found) == {}
    assert states("policy", found)["approvers"] == "unknown"


def barred(user_id, why):
    return PersonFacts(user_id=user_id, name="Gil", barred=why)


@pytest.mark.parametrize(
    ("people", "state", "said"),
    [
        (PEOPLE, "ok", "a red action can pass: 2 people"),
        ({ADA: PEOPLE[ADA], BEN: barred(BEN, "deactivated")}, "warning", "only where Ada Park did not ask"),
        ({ADA: barred(ADA, "a guest"), BEN: barred(BEN, "a bot")}, "wrong", "nobody who is named"),
        (
            {ADA: PEOPLE[ADA], BEN: PersonFacts(user_id=BEN, fault=Fault(said="no answer"))},
            "ok",
            "at least 1 person",
        ),
        (
            {
                who: PersonFacts(user_id=who, fault=Fault(said="no", code="missing_scope"))
                for who in (ADA, BEN)
            },
            "unknown",
            "not known",
        ),
        (
            {
                who: PersonFacts(user_id=who, fault=Fault(said="no", code="user_not_found"))
                for who in (ADA, BEN)
            },
            "wrong",
            "nobody who is named",
        ),
    ],
)
def test_can_a_red_action_ever_pass(people, state, said) -> None:
    """Only active people count, one alone is not enough for their own request, and no answer is no no."""
    line = judged("policy", gathered(slack=a_slack(people=people)))["red"]
    assert (line.state, said in line.what) == (state, True)


def test_a_barred_approver_is_named() -> None:
    """Who can not approve stands there by name and reason."""
    people = PEOPLE | {BEN: barred(BEN, "deactivated")}
    line = judged("policy", gathered(slack=a_slack(people=people)))[f"approver {BEN}"]
    assert (line.state, "Gil" in line.what, "deactivated" in line.what) == ("wrong", True, True)


def test_one_alone_may_do_it_where_the_policy_says_never() -> None:
    """`second_person: never` is a warning, whoever is named."""
    text = APPLY.replace("{approvers", "{second_person: never, approvers")
    assert states("policy", gathered(text))["red"] == "warning"


@pytest.mark.parametrize(
    ("group", "state", "said"),
    [
        (a_group(ADA, BEN), "ok", "2 members"),
        (a_group(), "warning", "is empty"),
        (a_group(members=None, fault=Fault(said="x", code="no_such_subteam")), "wrong", "disabled"),
        (
            a_group(members=None, fault=Fault(said="x", code="missing_scope", needed=BY_GROUP)),
            "wrong",
            BY_GROUP,
        ),
        (a_group(members=None, fault=Fault(said="Slack did not answer")), "unknown", "did not answer"),
    ],
)
def test_user_groups(group, state, said) -> None:
    """A user group that is gone, empty or can not be looked up is told as what it is."""
    found = gathered(GROUP, slack=a_slack(groups={"S0ONCALL1": group}))
    line = judged("policy", found)["group S0ONCALL1"]
    assert (line.state, said in line.what) == (state, True)


@pytest.mark.parametrize("mode", ["observe", "propose"])
def test_nobody_need_be_named_where_nothing_runs(mode) -> None:
    """Without mode apply an empty list of approvers is no fault."""
    found = gathered(f"mode: {mode}\nhosts: [{{name: web01}}]\n")
    assert states("policy", found) == {"mode": "ok", "approvers": "ok"}


def test_large_groups_leave_a_question_open() -> None:
    """Where more members are named than were looked up, the number is said to be the least."""
    slack = a_slack(groups={"S0ONCALL1": a_group(ADA)}, people={ADA: PEOPLE[ADA]}, people_not_asked=7)
    assert "at least 1 person" in judged("policy", gathered(GROUP, slack=slack))["red"].what
