"""Who may ask and approve: default deny, the intersection of all rules that match, and every answer names its rule."""

from typing import Any

import pytest

from oombot import config, policy
from oombot.model import Command
from oombot.policy import Case
from oombot.proposals import Step
from tests.examples import NOW, a_plan, a_request

ADA, BEN, CLEO = "U0ADA0001", "U0BEN0002", "U0CLEO003"
HOSTS = "hosts: [{name: host42}, {name: host43, tags: [prod]}, {name: db1, group: db}]\ngroups: {db: {}}\n"
AMBER = Case(host="host42", action="oom_score_adj", tier="amber")
NO_GROUPS: frozenset[str] = frozenset()


def given(rules: str) -> config.Settings:
    """Settings with this policy, in a mode that wants no approvers."""
    return config.load(f"{HOSTS}policy: {rules}\n", filename="test.yaml")


def approves(
    rules: str, who: str, *, requester: str = CLEO, of: Case = AMBER, groups: Any = NO_GROUPS
) -> bool:
    return policy.may_approve(given(rules), of, who, groups, requester=requester).allowed


def test_nobody_is_named_nobody_may() -> None:
    """Without any rule everybody is denied, and is told so."""
    ruling = policy.may_approve(given("{}"), AMBER, BEN, NO_GROUPS, requester=ADA)
    assert not ruling.allowed
    assert "policy.approvers" in ruling.rule
    assert ruling.name == "default deny"


def test_what_no_rule_matches_nobody_may_approve() -> None:
    """A rule for one remedy lets nobody approve another."""
    rules = f"{{rules: [{{actions: [restart_service], approve: {{users: [{ADA}]}}}}]}}"
    assert not approves(rules, ADA)
    assert approves(rules, ADA, of=Case(host="host42", action="restart_service", tier="amber"))


def test_a_group_is_enough() -> None:
    """A member of a named user group may approve; a member of another group may not."""
    rules = "{approvers: {groups: [S0ONCALL1]}}"
    assert approves(rules, BEN, groups=frozenset({"S0ONCALL1"}))
    assert not approves(rules, BEN, groups=frozenset({"S0OTHER11"}))


@pytest.mark.parametrize(
    ("second_person", "tier", "own_allowed"),
    [
        ("always", "amber", False),
        ("always", "red", False),
        ("red", "amber", True),
        ("red", "red", False),
        ("never", "red", True),
    ],
)
def test_second_person(second_person: str, tier: str, own_allowed: bool) -> None:
    """One's own request needs somebody else exactly where the policy says; another approver always may."""
    rules = f"{{approvers: {{users: [{ADA}, {BEN}]}}, second_person: {second_person}}}"
    of = Case(host="host42", action="oom_score_adj", tier=tier)
    assert approves(rules, ADA, requester=ADA, of=of) is own_allowed
    assert approves(rules, BEN, requester=ADA, of=of)


def test_every_rule_that_matches_must_agree() -> None:
    """A narrow rule on some hosts is not widened by one for all hosts: the right is the intersection."""
    rules = (
        f"{{rules: [{{approve: {{users: [{ADA}, {BEN}]}}, self: true}},"
        f" {{name: databases, hosts: ['group:db'], approve: {{users: [{BEN}, {CLEO}]}}, approvals: 2}}]}}"
    )
    database = Case(host="db1", action="oom_score_adj", tier="amber")
    assert [approves(rules, who, of=database, requester="U0DAN0004") for who in (ADA, BEN, CLEO)] == [
        False,
        True,
        False,
    ]
    assert not approves(rules, BEN, of=database, requester=BEN)
    assert approves(rules, BEN, requester=BEN)
    assert (policy.approvals(given(rules), database), policy.approvals(given(rules), AMBER)) == (2, 1)
    refusal = policy.may_approve(given(rules), database, ADA, NO_GROUPS, requester=CLEO)
    assert refusal.name == "databases"
    assert "the rule databases" in refusal.rule


def test_an_explicit_deny_wins() -> None:
    """A deny rule refuses whatever the others allow, in its own name."""
    rules = f"{{approvers: {{users: [{ADA}]}}, rules: [{{name: not prod, hosts: ['tag:prod'], deny: true}}]}}"
    prod = Case(host="host43", action="oom_score_adj", tier="amber")
    ruling = policy.may_approve(given(rules), prod, ADA, NO_GROUPS, requester=CLEO)
    assert (ruling.allowed, ruling.name) == (False, "not prod")
    assert not policy.may_ask(given(rules), prod, CLEO, NO_GROUPS).allowed
    assert approves(rules, ADA)


def test_a_deny_rule_may_mean_some_people() -> None:
    """Who is named by a deny rule is refused; others are not."""
    rules = f"{{approvers: {{users: [{ADA}, {BEN}]}}, rules: [{{deny: true, approve: {{users: [{ADA}]}}}}]}}"
    assert (approves(rules, ADA), approves(rules, BEN)) == (False, True)
    assert policy.may_ask(given(rules), AMBER, ADA, NO_GROUPS).allowed


def test_a_deny_rule_may_mean_some_who_ask_and_others_who_approve() -> None:
    """A rule that names people under both refuses each of them what they are named for, and nobody else anything."""
    both = f"deny: true, ask: {{users: [{BEN}]}}, approve: {{users: [{CLEO}]}}"
    rules = f"{{approvers: {{users: [{ADA}, {BEN}, {CLEO}]}}, rules: [{{{both}}}]}}"
    asks = [policy.may_ask(given(rules), AMBER, who, NO_GROUPS).allowed for who in (ADA, BEN, CLEO)]
    assert asks == [True, False, True]
    assert [approves(rules, who, requester="U0DAN0004") for who in (ADA, BEN, CLEO)] == [True, True, False]


def test_who_may_ask_is_ruled_too() -> None:
    """A rule that says who asks refuses others; one that does not lets every full member ask."""
    rules = f"{{rules: [{{ask: {{users: [{ADA}]}}, approve: {{users: [{BEN}]}}}}]}}"
    assert policy.may_ask(given(rules), AMBER, ADA, NO_GROUPS).allowed
    refusal = policy.may_ask(given(rules), AMBER, CLEO, NO_GROUPS)
    assert (refusal.allowed, refusal.name) == (False, "policy.rules.0")
    assert policy.may_ask(given("{}"), AMBER, CLEO, NO_GROUPS).allowed


def test_amber_is_red_where_the_policy_says() -> None:
    """On hosts of policy.red_on an amber plan counts as red, and says why."""
    settings = given("{red_on: ['tag:prod']}")
    graded = policy.graded(settings, a_plan(host="host43"))
    assert (graded.risk, graded.risk_why) == ("red", "host43 is among policy.red_on")
    assert policy.graded(settings, a_plan()).risk == "amber"


def test_undo_needs_one_approver() -> None:
    """An approver alone may undo, also their own change; somebody else may not, and a deny rule stands."""
    rules = f"{{approvers: {{users: [{ADA}]}}, rules: [{{deny: true, hosts: [db1]}}]}}"
    assert policy.may_undo(given(rules), AMBER, ADA, NO_GROUPS).allowed
    assert not policy.may_undo(given(rules), AMBER, BEN, NO_GROUPS).allowed
    denied = Case(host="db1", action="oom_score_adj", tier="amber")
    assert not policy.may_undo(given(rules), denied, ADA, NO_GROUPS).allowed


def test_approvers_are_mentions() -> None:
    """The card names who may approve, or says that nobody may."""
    assert policy.approver_ids(given(f"{{approvers: {{users: [{ADA}], groups: [S0ONCALL1]}}}}"), AMBER) == (
        "S0ONCALL1",
        ADA,
    )
    assert policy.approver_ids(given("{}"), AMBER) == ()


@pytest.mark.parametrize(
    ("second_person", "named"), [("always", (BEN,)), ("red", (ADA, BEN)), ("never", (ADA, BEN))]
)
def test_who_asked_is_no_approver_where_a_second_person_has_to_be(
    second_person: str, named: tuple[str, ...]
) -> None:
    """The card does not call the one who asked to approve what the policy would refuse them."""
    rules = given(f"{{approvers: {{users: [{ADA}, {BEN}]}}, second_person: {second_person}}}")
    assert policy.approver_ids(rules, AMBER, requester=ADA) == named


RESTARTING = Step(why="restart it", do=Command(argv=("restart-unit",), sudo=True), undo=None, by_hand="")
RESTART = {"remediation": "restart_service", "unit": "a.service", "steps": (RESTARTING,)}


def runs(count: int, *, ago_s: float, **plan: Any) -> list[Any]:
    return [(NOW - ago_s, a_request(id=f"r{number}", plan=a_plan(**plan))) for number in range(count)]


@pytest.mark.parametrize(
    ("limits", "ran", "plan", "named"),
    [
        ("{max_changes_per_host_per_day: 2}", runs(2, ago_s=80_000), {}, "max_changes_per_host_per_day"),
        ("{max_changes_per_host_per_day: 2}", runs(2, ago_s=87_000), {}, ""),
        ("{max_changes_per_host_per_day: 2}", runs(2, ago_s=60, host="host43"), {}, ""),
        (
            "{max_hosts_changed_per_hour: 1}",
            runs(3, ago_s=60, host="host43"),
            {},
            "max_hosts_changed_per_hour",
        ),
        ("{max_hosts_changed_per_hour: 1}", runs(3, ago_s=60), {}, ""),
        ("{max_hosts_changed_per_hour: 1}", runs(3, ago_s=3700, host="host43"), {}, ""),
        (
            "{}",
            runs(2, ago_s=500, **RESTART),
            RESTART,
            "restarts_per_unit",
        ),
        (
            "{}",
            runs(2, ago_s=500, **RESTART),
            {**RESTART, "unit": "b.service"},
            "",
        ),
        ("{}", runs(2, ago_s=500, **{**RESTART, "remediation": "another"}), RESTART, "restarts_per_unit"),
        (
            "{}",
            runs(2, ago_s=700, **RESTART),
            RESTART,
            "",
        ),
    ],
)
def test_limits_are_named(limits: str, ran: list[Any], plan: dict[str, Any], named: str) -> None:
    """What was run within a limit's time counts, on its host, among hosts or for its unit; the answer names it."""
    said = policy.exceeded(given(f"{{limits: {limits}}}").policy.limits, a_plan(**plan), ran, NOW)
    assert (named in said) if named else said == ""
