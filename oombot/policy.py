"""Who may approve which plan. Default deny; the answer names the rule that decided."""

from dataclasses import dataclass

from oombot.proposals import Request
from oombot.rights import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Yes or no, with the sentence a person is told."""

    allowed: bool
    rule: str


def is_approver(policy: Policy, user_id: str, groups: frozenset[str]) -> bool:
    """Whether the user is named, or is in a named user group (`groups`: those the user was found in just now)."""
    return user_id in policy.approvers.users or bool(groups & set(policy.approvers.groups))


def may_decide(policy: Policy, request: Request, user_id: str, groups: frozenset[str]) -> Ruling:
    """Whether this user may approve this request."""
    if not is_approver(policy, user_id, groups):
        return Ruling(allowed=False, rule="You are not among policy.approvers, so you can not approve this.")
    if request.requester == user_id and _needs_second(policy, request):
        return Ruling(
            allowed=False,
            rule="You asked for this yourself, and the policy wants a second person to approve it.",
        )
    return Ruling(allowed=True, rule="named in policy.approvers")


def may_undo(policy: Policy, user_id: str, groups: frozenset[str]) -> Ruling:
    """Whether this user alone may undo a change that still stands as it was made: one approver is enough."""
    if is_approver(policy, user_id, groups):
        return Ruling(allowed=True, rule="an approver may undo a change that still stands")
    return Ruling(
        allowed=False, rule="You are not among policy.approvers: an approver has to agree to the undo."
    )


def approver_ids(policy: Policy) -> tuple[str, ...]:
    """Who may approve, for the card: user groups first; empty means nobody."""
    return (*policy.approvers.groups, *policy.approvers.users)


def _needs_second(policy: Policy, request: Request) -> bool:
    return policy.second_person == "always" or (policy.second_person == "red" and request.plan.risk == "red")
