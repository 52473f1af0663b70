"""Every remediation against its folder of cases, tests/remediations/NAME/{change,noop,refused}-*.json.

A case is one JSON object; what it leaves out is as said here, and a key that is not said here is a mistake:

    says      one sentence: the fact that the case proves
    params    what a person approves: the fields of the remediation's Params
    policy    the `policy:` of the configuration; {} = the shipped one
    host      what the host shows:
        processes  rows for `a_process` of examples.py, which fills in the rest; left out: java (4242) and sshd (7)
        units      rows for `unit` of nouns.py, in the same way
        cgroups    {path: {limit_kb, usage_kb, …}}, as Cgroup of model.py
        details    the answer to the look, in the shape of Details of details.py
        …          any other field of HostSnapshot: has_python, login_uid, can_sudo, acts_as, swaps, memory_kb, …

and then what is expected. change-*: a plan, with

    do, undo  the argv of each step and of its undo (null = it has none), in the order of the steps
    risk      the tier
    lasting   process, boot or good
    sudo      whether the steps need root; left out: true
    warns     words of a check that warns; left out or "": no check warns (true: warnings do not matter)
    effect    words of the predicted effect, when it matters
    by_hand   the lines to copy, one a step, when they matter

noop-*: `noop`, what `state` reads already. refused-*: `refused`, words of the refusal.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from oombot import catalog
from oombot.details import Details
from oombot.engine import plans
from oombot.errors import RefusedError
from oombot.model import Cgroup, HostSnapshot, Swap
from oombot.proposals import Plan
from oombot.rights import Policy
from tests import nouns
from tests.examples import a_process, a_snapshot

FOLDER = Path(__file__).parent / "remediations"
CASES = sorted(FOLDER.glob("*/*.json"))
KEYS = {"says", "params", "policy", "host"}
OUTCOMES = {
    "change": {"do", "undo", "risk", "lasting", "sudo", "warns", "effect", "by_hand"},
    "noop": {"noop"},
    "refused": {"refused"},
}


def the_details(said: Mapping[str, Any]) -> Details:
    """The details that a case gives; a name that Details does not know is a mistake of the case."""
    details = TypeAdapter(Details).validate_python(said)
    unknown(said, asdict(details))
    return details


def unknown(said: Any, taken: Any) -> None:
    """Fail for a key that was not taken in."""
    if isinstance(said, Mapping):
        assert set(said) <= set(taken), f"not known: {set(said) - set(taken)}"
        for key, value in said.items():
            unknown(value, taken[key])
    elif isinstance(said, list):
        for one, other in zip(said, taken, strict=True):
            unknown(one, other)


def the_host(said: Mapping[str, Any]) -> HostSnapshot:
    """The snapshot that a case gives."""
    rest = dict(said)
    processes = rest.pop("processes", [{}, {"pid": 7, "comm": "sshd"}])
    given: dict[str, Any] = {
        "units": tuple(nouns.unit(**row) for row in rest.pop("units", ())),
        "cgroups": {path: Cgroup(path=path, **row) for path, row in rest.pop("cgroups", {}).items()},
        "details": the_details(rest.pop("details", {})),
        "own_pids": frozenset(rest.pop("own_pids", ())),
        "swaps": tuple(Swap(**row) for row in rest.pop("swaps", ())),
    }
    return a_snapshot(*(a_process(**row) for row in processes), **given, **rest)


def planned(name: str, case: Mapping[str, Any]) -> Plan:
    """What the remediation proposes, as the engine asks it."""
    remediation = catalog.remediations()[name]
    policy = Policy.model_validate_json(json.dumps(case.get("policy", {})))
    params = remediation.params(**case["params"])
    return plans.make(remediation, params, the_host(case["host"]), policy, tag="r1")


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_case(path: Path) -> None:
    """The plan is what the case says, step by step, or the refusal names the guard rail."""
    case, kind = json.loads(path.read_text()), path.stem.split("-")[0]
    assert set(case) <= KEYS | OUTCOMES[kind], "a key that no case has"
    if kind == "change":
        check_plan(planned(path.parent.name, case), case)
        return
    with pytest.raises(RefusedError) as caught:
        planned(path.parent.name, case)
    told = f"Nothing to do: {case['noop']} already." if kind == "noop" else case["refused"]
    assert told in str(caught.value)


def check_plan(plan: Plan, case: Mapping[str, Any]) -> None:
    """Compare a plan with what the case expects of it."""
    assert [list(step.do.argv) for step in plan.steps] == case["do"]
    assert [step.undo and list(step.undo.argv) for step in plan.steps] == case["undo"]
    sudo, commands = case.get("sudo", True), [c for s in plan.steps for c in (s.do, s.undo) if c is not None]
    assert {command.sudo for command in commands} == {sudo}
    assert all(("sudo" in step.by_hand) is sudo and "\n" not in step.by_hand for step in plan.steps)
    assert (plan.risk, plan.lasting) == (case["risk"], case["lasting"])
    assert plan.risk_why
    warnings, warns = " | ".join(c.text for c in plan.checks if c.ok is None), case.get("warns", "")
    assert warns is True or (warns in warnings if warns else not warnings)
    assert case.get("effect", "") in " | ".join(plan.effect)
    assert case.get("by_hand") in (None, [step.by_hand for step in plan.steps])


@pytest.mark.parametrize("name", sorted(catalog.remediations()))
def test_each_has_a_change_a_noop_and_a_refusal(name: str) -> None:
    """A remediation without these three kinds of case is not finished."""
    kinds = {path.stem.split("-")[0] for path in (FOLDER / name).glob("*.json")}
    assert kinds == {"change", "noop", "refused"}
