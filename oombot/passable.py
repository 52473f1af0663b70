"""Whether what the rules let through could ever be approved: each way in which rules meet is looked at once."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from oombot.errors import UnknownHostError
from oombot.inventory.consistency import Problem
from oombot.inventory.marked import Path
from oombot.inventory.roster import Roster
from oombot.rights import TIERS, Policy, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """A rule with its place in the file, and the hosts that it is about."""

    rule: Rule
    path: Path
    hosts: frozenset[str]


def problems(
    policy: Policy, roster: Roster, names: Sequence[str], *, apply: bool, actions: Collection[str] = ()
) -> Iterator[Problem]:
    """What can never be approved, and what can never match, with the place to mend it.

    `names`: every host; `actions`: every remedy, where they are known.
    """
    found: list[Problem] = []
    rules = _placed(policy, roster, found)
    red_on = frozenset(_hosts(("policy", "red_on"), policy.red_on, roster, found))
    found += _empty(rules, actions)
    yield from found
    if found:
        return
    if apply and policy.people.nobody:
        yield (
            ("mode",),
            "mode apply with no policy.approvers and no rule that names any: nobody could ever approve",
            None,
        )
        return
    yield from dict.fromkeys(_met(rules, names, red_on, actions, apply=apply))


def _placed(policy: Policy, roster: Roster, found: list[Problem]) -> list[_Where]:
    short = len(policy.all_rules) - len(policy.rules)
    placed = []
    for index, rule in enumerate(policy.all_rules):
        path: Path = ("policy", "rules", index - short) if index >= short else ("policy", "approvers")
        hosts = _hosts((*path, "hosts"), rule.hosts, roster, found)
        placed.append(_Where(rule=rule, path=path, hosts=frozenset(hosts)))
    return placed


def _hosts(path: Path, patterns: Sequence[str], roster: Roster, found: list[Problem]) -> list[str]:
    hosts: list[str] = []
    for pattern in patterns:
        try:
            hosts += roster.select(pattern).names
        except UnknownHostError as error:
            found.append((path, f"can never match: {error}", None))
    return hosts


def _empty(rules: Sequence[_Where], actions: Collection[str]) -> Iterator[Problem]:
    """Rules that say nothing by themselves."""
    for each in rules:
        unknown = [name for name in each.rule.actions if name != "*" and actions and name not in actions]
        if unknown:
            known = ", ".join(sorted(actions))
            text = f"can never match: there is no remedy {unknown[0]} (there are {known})"
            yield (*each.path, "actions"), text, None
        if not each.rule.deny and each.rule.approve.nobody:
            text = f"the rule {each.rule.name} names nobody who approves; a rule that refuses says deny: true"
            yield each.path, text, None
        for key in ("actions", "hosts", "tiers"):
            if not getattr(each.rule, key):
                yield (*each.path, key), f"can never match: {key} is empty", None


def _met(
    rules: Sequence[_Where],
    names: Sequence[str],
    red_on: frozenset[str],
    actions: Collection[str],
    *,
    apply: bool,
) -> Iterator[Problem]:
    used: set[int] = set()
    for met in _meetings(rules, names, red_on, actions):
        here = [rules[index] for index in met]
        if any(_total(each.rule) for each in here):
            used |= {index for index in met if rules[index].rule.deny}
            continue
        used |= set(met)
        if apply:
            yield from _short([each for each in here if not each.rule.deny])
    for index, each in enumerate(rules):
        if index not in used:
            text = f"the rule {each.rule.name} can never match: others refuse all of it, or no plan there has its tier"
            yield each.path, text, None


def _meetings(
    rules: Sequence[_Where], names: Sequence[str], red_on: frozenset[str], actions: Collection[str]
) -> set[tuple[int, ...]]:
    """Which rules there are together for some host, remedy and tier."""
    named = {name for each in rules for name in each.rule.actions if name != "*"}
    remedies = [*named, *[name for name in actions if name not in named][:1], *([] if actions else ["*"])]
    on: dict[tuple[bool, tuple[int, ...]], None] = {}
    for name in names:
        here = tuple(index for index, each in enumerate(rules) if name in each.hosts)
        on[name in red_on, here] = None
    return {
        tuple(
            index
            for index in here
            if tier in rules[index].rule.tiers and {"*", remedy} & set(rules[index].rule.actions)
        )
        for red, here in on
        for tier in (("red",) if red else TIERS)
        for remedy in remedies
    }


def _total(rule: Rule) -> bool:
    return rule.deny and rule.ask.nobody and rule.approve.nobody


def _short(allowing: Sequence[_Where]) -> Iterator[Problem]:
    """Too few people for what these rules want together; how many a user group has is asked by doctor."""
    if not allowing or any(each.rule.approve.groups for each in allowing):
        return
    who = frozenset.intersection(*(frozenset(each.rule.approve.users) for each in allowing))
    needed = max(each.rule.approvals for each in allowing)
    own = all(each.rule.own for each in allowing)
    apart = any(_apart(each.rule, who) for each in allowing)  # then nobody who asks is one of them
    left = len(who) - (0 if own or apart else 1)
    if left >= needed:
        return
    last = allowing[-1]
    names = " and ".join(dict.fromkeys(each.rule.name for each in allowing))
    without = "" if own or apart else ", of whom the one who asks does not count"
    yield (
        last.path,
        f"{names} can never pass: {needed} must approve, but {_people(len(who))} may{without}",
        None,
    )


def _apart(rule: Rule, who: frozenset[str]) -> bool:
    """Whether the rule lets none of these people ask."""
    return not rule.ask.nobody and not rule.ask.groups and not who & set(rule.ask.users)


def _people(count: int) -> str:
    if count < 2:
        return "nobody" if not count else "one person"
    return f"{count} people"
