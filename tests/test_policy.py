"""Who may approve: default deny, by id and by group, with a second person where wanted."""

import pytest

from oombot import policy
from oombot.rights import Approvers, Policy
from tests.examples import a_request

ADA, BEN = "U0ADA0001", "U0BEN0002"


def ruled(second_person: str, *, risk: str, requester: str, approver: str) -> bool:
    rules = Policy(approvers=Approvers(users=(ADA, BEN)), second_person=second_person)  # type: ignore[arg-type]
    return policy.may_decide(rules, a_request(risk=risk, requester=requester), approver, frozenset()).allowed


def test_nobody_is_named_nobody_may() -> None:
    """An empty list of approvers denies everybody."""
    ruling = policy.may_decide(Policy(), a_request(requester=ADA), BEN, frozenset())
    assert not ruling.allowed
    assert "policy.approvers" in ruling.rule


def test_a_group_is_enough() -> None:
    """A member of a named user group may approve; a member of another group may not."""
    rules = Policy(approvers=Approvers(groups=("S0ONCALL1",)))
    assert policy.may_decide(rules, a_request(requester=ADA), BEN, frozenset({"S0ONCALL1"})).allowed
    assert not policy.may_decide(rules, a_request(requester=ADA), BEN, frozenset({"S0OTHER11"})).allowed


@pytest.mark.parametrize(
    ("second_person", "risk", "own_allowed"),
    [
        ("always", "amber", False),
        ("always", "red", False),
        ("red", "amber", True),
        ("red", "red", False),
        ("never", "red", True),
    ],
)
def test_second_person(second_person: str, risk: str, own_allowed: bool) -> None:
    """One's own request needs somebody else exactly where the policy says; another approver always may."""
    assert ruled(second_person, risk=risk, requester=ADA, approver=ADA) is own_allowed
    assert ruled(second_person, risk=risk, requester=ADA, approver=BEN)


def test_undo_needs_one_approver() -> None:
    """An approver alone may undo; somebody else may not."""
    rules = Policy(approvers=Approvers(users=(ADA,)))
    assert policy.may_undo(rules, ADA, frozenset()).allowed
    assert not policy.may_undo(rules, BEN, frozenset()).allowed


def test_approvers_are_mentions() -> None:
    """The card names who may approve, or says that nobody may."""
    rules = Policy(approvers=Approvers(users=(ADA,), groups=("S0ONCALL1",)))
    assert policy.approver_ids(rules) == ("S0ONCALL1", ADA)
    assert policy.approver_ids(Policy()) == ()
