"""The check of the rules: what can never be approved, and what can never match, is told with its line."""

from pathlib import Path

import pytest

from oombot import catalog, config
from oombot.errors import ConfigError

ACTIONS = ("oom_score_adj", "restart_service")
SHIPPED = Path(__file__).parent.parent / "config"


def said(
    rules: str, *, mode: str = "apply", hosts: str = "hosts: [{name: a, tags: [prod]}, {name: b}]"
) -> list[str]:
    """What the check says of these rules; each stands on its own line, the first on line 4."""
    text = f"mode: {mode}\npolicy:\n  rules:\n{rules}\n{hosts}\n"
    try:
        config.load_noted(text, filename="c.yaml", actions=ACTIONS)
    except ConfigError as error:
        return list(error.problems)
    return []


TWO = "approve: {users: [U0ADA0001, U0BEN0002]}"
THREE = "approve: {users: [U0ADA0001, U0BEN0002, U0CLEO003]}"


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (
            f"    - {{{TWO}, approvals: 2}}",
            "c.yaml:4: policy.rules.0 can never pass: 2 must approve, but 2 people",
        ),
        (f"    - {{{THREE}, approvals: 2}}", ""),
        (f"    - {{{TWO}, approvals: 2, self: true}}", ""),
        (f"    - {{{TWO}, approvals: 2, ask: {{users: [U0CLEO003]}}}}", ""),
        ("    - {approve: {groups: [S0ONCALL1]}, approvals: 2}", ""),
        (
            "    - {approve: {users: [U0ADA0001]}}",
            "c.yaml:4: policy.rules.0 can never pass: 1 must approve, but one",
        ),
        (
            f"    - {{{TWO}}}\n    - {{name: x, hosts: [a], approve: {{users: [U0BEN0002, U0CLEO003]}}}}",
            "c.yaml:5: policy.rules.0 and x can never pass: 1 must approve, but one person may",
        ),
        (f"    - {{{TWO}}}\n    - {{name: x}}", "c.yaml:5: the rule x names nobody who approves"),
        (
            f"    - {{{TWO}}}\n    - {{hosts: [zz], deny: true}}",
            "c.yaml:5: can never match: No host named 'zz'",
        ),
        (
            f"    - {{{TWO}, actions: [reboot]}}",
            "c.yaml:4: can never match: there is no remedy reboot (there are oom",
        ),
        (f"    - {{{TWO}}}\n    - {{tiers: [], deny: true}}", "c.yaml:5: can never match: tiers is empty"),
        (
            f"    - {{{TWO}}}\n    - {{name: x, hosts: [a], {TWO}}}\n    - {{hosts: [a], deny: true}}",
            "c.yaml:5: the rule x can never match",
        ),
        (
            f"    - {{{TWO}}}\n    - {{name: x, hosts: [a], tiers: [amber], {TWO}}}\n  red_on: ['tag:prod']",
            "c.yaml:5: the rule x can never match",
        ),
    ],
)
def test_what_never_passes_or_matches(rules: str, problem: str) -> None:
    """Each rule that can not do what it says is told at its line; a good one is not."""
    found = said(rules)
    assert (len(found) == 1 and found[0].startswith(problem)) if problem else found == []


def test_nobody_in_mode_apply() -> None:
    """In mode apply somebody must be able to approve something; in mode propose nobody need be named."""
    [line] = said("    - {deny: true}")
    assert "nobody could ever approve" in line
    assert said("    - {deny: true}", mode="propose") == []


def test_how_many_must_approve_matters_only_where_plans_run() -> None:
    """In mode propose too few approvers stop nothing."""
    assert said(f"    - {{{TWO}, approvals: 2}}", mode="propose") == []


def test_a_fleet_is_checked_at_once() -> None:
    """Two thousand hosts are as few meetings of rules as two."""
    hosts = "hosts: [{name: 'web[0001-2000]'}]"
    assert said(f"    - {{{TWO}}}\n    - {{hosts: ['web1*'], {TWO}}}", hosts=hosts) == []


@pytest.mark.parametrize("name", ["oombot.yaml", "solo.yaml"])
def test_shipped_configurations_pass(name: str) -> None:
    """What is shipped as an example passes the check, with the remedies that there are."""
    text = (SHIPPED / name).read_text()
    assert config.load_noted(text, filename=name, actions=tuple(catalog.remediations()))[0].hosts
