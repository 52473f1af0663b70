"""The policy against the people there really are: can anybody ever approve, and can a red action pass?"""

from collections.abc import Iterable

from oombot.doctor.gathered import Fault, Gathered, GroupFacts, PersonFacts, SlackFacts
from oombot.doctor.shape import BotCheck, Line, ok, unknown, warning, wrong
from oombot.rights import Approvers

_NOBODY = "no approved change can ever run: nobody is there to approve it"


def _lines(gathered: Gathered) -> Iterable[Line]:
    settings = gathered.known
    approvers, slack = settings.policy.people, gathered.slack
    yield ok("mode", _MODES[settings.mode])
    if not (approvers.users or approvers.groups):
        yield ok("approvers", "nobody is named to approve; in this mode nothing waits for that")
        return
    if slack is None or slack.auth is not None or slack.token_problems:
        said = f"whether {_named(approvers)} can approve is not known: Slack could not be asked"
        yield unknown("approvers", said, _NOBODY, "mend what is said of slack above, then: oombot doctor")
        return
    yield from (_group(slack.groups[key]) for key in approvers.groups if key in slack.groups)
    for user_id in approvers.users:
        yield from _person(slack.people.get(user_id))
    yield from _passes(gathered, slack)


_MODES = {
    "observe": "mode observe: cards only, no change is even proposed",
    "propose": "mode propose: plans show commands to copy, nothing is run",
    "apply": "mode apply: an approved plan is run",
}


def _named(approvers: Approvers) -> str:
    users, groups = len(approvers.users), len(approvers.groups)
    return f"any of {users} named people and {groups} user groups"


def _group(group: GroupFacts) -> Line:
    item, name = f"group {group.group_id}", f"user group {group.group_id}"
    if group.fault is not None:
        return _group_fault(item, name, group.fault)
    if not group.members:
        why = "nobody of it can approve"
        return warning(
            item, f"{name} is empty", why, "add people to it in Slack, or take it out of policy.approvers"
        )
    return ok(item, f"{name} has {len(group.members)} member{'' if len(group.members) == 1 else 's'}")


def _group_fault(item: str, name: str, fault: Fault) -> Line:
    why = "a look-up that fails refuses every press of its members"
    if fault.code == "no_such_subteam":
        fix = "correct its id (S…) in policy.approvers.groups, or enable the group in Slack"
        return wrong(item, f"Slack has no {name}, or it is disabled", why, fix)
    fix = fault.fix or "oombot doctor, once Slack answers again"
    if fault.code == "missing_scope":
        return wrong(item, f"{name} can not be looked up: the token lacks the scope {fault.needed}", why, fix)
    return unknown(item, f"who is in {name} is not known: {fault.said}", why, fix)


def _person(person: PersonFacts | None) -> Iterable[Line]:
    if person is None:
        return
    item = f"approver {person.user_id}"
    who = f"{person.name} ({person.user_id})" if person.name else person.user_id
    fix = "correct or remove the id in policy.approvers.users"
    if person.fault is not None and person.fault.code == "user_not_found":
        yield wrong(item, f"Slack knows no {person.user_id}", "this approver does not exist", fix)
    elif person.fault is not None:
        said = f"whether {who} may approve is not known: {person.fault.said}"
        yield unknown(
            item, said, "an approver that Slack can not vouch for is refused", person.fault.fix or fix
        )
    elif person.barred:
        why = "only active full members of this workspace may approve"
        yield wrong(item, f"{who} can not approve: {person.barred}", why, fix)


def _passes(gathered: Gathered, slack: SlackFacts) -> Iterable[Line]:
    policy = gathered.known.policy
    members = {user for group in slack.groups.values() for user in group.members or ()}
    named = {*policy.people.users, *members}
    able = sorted(
        user
        for user in named
        if (facts := slack.people.get(user)) is not None and not facts.barred and facts.fault is None
    )
    faults = [facts.fault for facts in slack.people.values()] + [
        facts.fault for facts in slack.groups.values()
    ]
    open_question = slack.people_not_asked > 0 or any(
        fault is not None and fault.code not in {"user_not_found", "no_such_subteam"} for fault in faults
    )
    if not able and open_question:
        said = "whether anybody can approve is not known: Slack did not answer about all who are named"
        yield unknown("red", said, _NOBODY, "mend what is said above, then: oombot doctor")
    elif not able:
        fix = "name active people of this workspace in policy.approvers"
        yield wrong("red", "nobody who is named can approve", _NOBODY, fix)
    else:
        yield _second(gathered, able, open_question=open_question, slack=slack)


def _second(gathered: Gathered, able: list[str], *, open_question: bool, slack: SlackFacts) -> Line:
    settings = gathered.known
    red = [rule for rule in settings.policy.all_rules if "red" in rule.tiers and not rule.deny]
    at_least = "at least " if open_question else ""
    people = f"{at_least}{len(able)} {'person' if len(able) == 1 else 'people'} can approve"
    if red and all(rule.own for rule in red):
        return warning(
            "red",
            f"a red action can pass, and who asks for it may approve it alone ({people})",
            "one stolen account is enough for a risky change",
            "policy.second_person: red, or always",
        )
    if len(able) == 1 and not open_question:
        only = slack.people[able[0]].name or able[0]
        return warning(
            "red",
            f"a red action can pass only where {only} did not ask for it: nobody else can approve",
            "what that person proposes, nobody can approve; and when they sleep, nobody can at all",
            "name a second person in policy.approvers",
        )
    if settings.mode != "apply":
        return ok(
            "red", f"no action runs in mode {settings.mode}; in mode apply a red one could pass: {people}"
        )
    return ok("red", f"a red action can pass: {people}, and who asked is not the one who approves")


CHECK = BotCheck(name="policy", rank=60, lines=_lines)
