"""Who may ask for and approve which plan. Default deny; every answer names the rule that decided."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from oombot.config import Settings
from oombot.proposals import Plan, Request
from oombot.rights import Approvers, Limits, Policy, Rule

DAY_S, HOUR_S, RESTART_S = 86400.0, 3600.0, 600.0
RESTARTS = "restart-unit"  # the verb: more than one remedy may restart a unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Yes or no, with the sentence a person is told; `name` is the rule that decided, as the audit keeps it."""

    allowed: bool
    rule: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a rule is asked about: a remedy on a host, in a tier."""

    host: str
    action: str
    tier: str


def case(settings: Settings, plan: Plan) -> Case:
    """The case of a plan; a green or black one has no rule that matches it."""
    return Case(host=plan.host, action=plan.remediation, tier=graded(settings, plan).risk)


def graded(settings: Settings, plan: Plan) -> Plan:
    """The plan with its tier as it counts on its host: amber is red where `policy.red_on` says so."""
    if plan.risk != "amber" or not _on(settings, settings.policy.red_on, plan.host):
        return plan
    why = f"{plan.host} is among policy.red_on"
    return replace(plan, risk="red", risk_why=f"{plan.risk_why}; {why}" if plan.risk_why else why)


def matching(settings: Settings, of: Case) -> tuple[Rule, ...]:
    """The rules that say anything about a case; none of them: nobody may."""
    return tuple(
        rule
        for rule in settings.policy.all_rules
        if of.tier in rule.tiers
        and ("*" in rule.actions or of.action in rule.actions)
        and _on(settings, rule.hosts, of.host)
    )


def may_ask(settings: Settings, of: Case, user_id: str, groups: frozenset[str]) -> Ruling:
    """Whether this user may ask for it: no rule that matches excludes them."""
    for rule in matching(settings, of):
        if rule.deny and _barred(rule.ask, rule.approve, user_id, groups):
            return _no(rule, "refuses this")
        if not rule.deny and not _meant(rule.ask.nobody, rule.ask.name(user_id, groups)):
            return _no(rule, "does not let you ask for this")
    return Ruling(allowed=True, rule="no rule forbids to ask for this")


def may_approve(
    settings: Settings, of: Case, user_id: str, groups: frozenset[str], *, requester: str
) -> Ruling:
    """Whether this user's approval counts: every rule that matches must name them, and none may deny it."""
    rules = matching(settings, of)
    for rule in rules:
        if rule.deny and _barred(rule.approve, rule.ask, user_id, groups):
            return _no(rule, "refuses this")
    allowing = [rule for rule in rules if not rule.deny]
    if not allowing:
        return _nobody(of)
    for rule in allowing:
        if not rule.approve.name(user_id, groups):
            who = "" if rule.name == "policy.approvers" else "the approvers of the rule "
            said = f"You are not among {who}{rule.name}, so you can not approve this."
            return Ruling(allowed=False, rule=said, name=rule.name)
        if user_id == requester and not rule.own:
            said = f"You asked for this yourself, and the policy ({rule.name}) wants a second person to approve it."
            return Ruling(allowed=False, rule=said, name=rule.name)
    return _yes(allowing)


def may_undo(settings: Settings, of: Case, user_id: str, groups: frozenset[str]) -> Ruling:
    """Whether this user alone may undo a change that still stands as it was made: one approver of it is enough."""
    ruling = may_approve(settings, of, user_id, groups, requester="")
    if ruling.allowed:
        return replace(ruling, rule="an approver may undo a change that still stands")
    return replace(ruling, rule=f"{ruling.rule} An approver has to agree to the undo.")


def approvals(settings: Settings, of: Case) -> int:
    """How many different people must approve it: as many as the strictest rule wants."""
    return max((rule.approvals for rule in matching(settings, of) if not rule.deny), default=1)


def approver_ids(settings: Settings, of: Case, *, requester: str = "") -> tuple[str, ...]:
    """Who may approve, for the card: user groups first; empty means nobody.

    Who asked is left out where a second person has to approve. Where several rules match, only who stands in each of
    them: members of groups can not be told apart here.
    """
    allowing = [rule for rule in matching(settings, of) if not rule.deny]
    if not allowing:
        return ()
    ids = [(*rule.approve.groups, *rule.approve.users) for rule in allowing]
    common = [one for one in ids[0] if all(one in others for others in ids[1:])]
    named = dict.fromkeys(common or [one for some in ids for one in some])
    own = all(rule.own for rule in allowing)
    return tuple(one for one in named if own or one != requester)


def group_ids(policy: Policy) -> tuple[str, ...]:
    """Every user group that a rule names, of those who ask as well as of those who approve."""
    named = [people for rule in policy.all_rules for people in (rule.ask, rule.approve)]
    return tuple(dict.fromkeys(group for people in named for group in people.groups))


def is_approver(policy: Policy, user_id: str, groups: frozenset[str]) -> bool:
    """Whether the user may approve anything at all, and so may end a freeze."""
    return policy.people.name(user_id, groups)


def exceeded(limits: Limits, plan: Plan, ran: Sequence[tuple[float, Request]], now_s: float) -> str:
    """The limit that one more run of this plan would cross, by name; "" where it crosses none.

    `ran`: every run that was begun within the last day, with its time. Undos count, and are not held up.
    """
    today = [each for at_s, each in ran if at_s > now_s - DAY_S and each.plan.host == plan.host]
    if len(today) >= limits.max_changes_per_host_per_day:
        many = f"{len(today)} changes of {plan.host} were made within a day"
        return f"{many}: policy.limits.max_changes_per_host_per_day is {limits.max_changes_per_host_per_day}"
    hosts = {each.plan.host for at_s, each in ran if at_s > now_s - HOUR_S}
    if len(hosts | {plan.host}) > limits.max_hosts_changed_per_hour:
        many = f"{len(hosts)} hosts were changed within an hour"
        return f"{many}: policy.limits.max_hosts_changed_per_hour is {limits.max_hosts_changed_per_hour}"
    if not plan.unit or not _restarts(plan):
        return ""
    restarts = [
        each
        for at_s, each in ran
        if at_s > now_s - RESTART_S
        and (each.plan.host, each.plan.unit) == (plan.host, plan.unit)
        and _restarts(each.plan)
    ]
    if len(restarts) >= limits.restarts_per_unit:
        many = f"{plan.unit} was restarted {len(restarts)} times within ten minutes"
        return f"{many}: policy.limits.restarts_per_unit is {limits.restarts_per_unit}"
    return ""


def _restarts(plan: Plan) -> bool:
    return any(step.do.argv[0] == RESTARTS for step in plan.steps)


def _on(settings: Settings, patterns: Sequence[str], host: str) -> bool:
    return any(host in settings.selection(pattern).names for pattern in patterns)


def _meant(nobody_named: bool, named: bool) -> bool:
    """People who are not narrowed down are all people."""
    return nobody_named or named


def _barred(here: Approvers, there: Approvers, user_id: str, groups: frozenset[str]) -> bool:
    """Whether a deny rule means this user: everybody where it names nobody, else who is named for this very act."""
    return (here.nobody and there.nobody) or here.name(user_id, groups)


def _yes(rules: Sequence[Rule]) -> Ruling:
    names = ", ".join(dict.fromkeys(rule.name for rule in rules))
    return Ruling(allowed=True, rule=f"allowed by {names}", name=names)


def _no(rule: Rule, what: str) -> Ruling:
    return Ruling(allowed=False, rule=f"The rule {rule.name} {what}.", name=rule.name)


def _nobody(of: Case) -> Ruling:
    said = f"No rule of policy.approvers or policy.rules lets anybody approve {of.action} ({of.tier}) on {of.host}."
    return Ruling(allowed=False, rule=said, name="default deny")
