"""Every remediation against its folder of cases: params and host in; steps and undo, or the refusal, out."""

import json
from pathlib import Path
from typing import Any

import pytest

from oombot import catalog
from oombot.config import Policy
from oombot.engine import plans
from oombot.errors import ConfigError, RefusedError
from oombot.model import Cgroup, Plan
from oombot.remediations.oom_score_adj import REMEDIATION, Params
from tests.examples import a_kill, a_process, a_snapshot

FOLDER = Path(__file__).parent / "remediations"
CASES = sorted(FOLDER.glob("*/*.json"))


def planned(path: Path, case: dict[str, Any]) -> Plan:
    remediation = catalog.remediations()[path.parent.name]
    wanted = dict(case["process"])
    pid, comm = wanted.pop("pid", 4242), wanted.pop("comm", "java")
    snapshot = a_snapshot(
        a_process(pid, comm, **wanted),
        a_process(7, "sshd"),
        own_pids=frozenset(case.get("own_pids", ())),
        has_python=case.get("has_python", True),
    )
    policy = Policy.model_validate_json(json.dumps(case.get("policy", {})))
    return plans.make(remediation, remediation.params(**case["params"]), snapshot, policy)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_case(path: Path) -> None:
    """The plan is what the case says, step by step, or the refusal names the guard rail."""
    case = json.loads(path.read_text())
    if "refused" in case:
        with pytest.raises(RefusedError, match=case["refused"].replace(".", r"\.")):
            planned(path, case)
        return
    plan = planned(path, case)
    assert [list(step.do.argv) for step in plan.steps] == case["do"]
    assert [list(step.undo.argv) for step in plan.steps if step.undo] == case["undo"]
    assert plan.risk == case["risk"]
    assert case.get("warns", "") in " ".join(check.text for check in plan.checks if check.ok is None)


@pytest.mark.parametrize("name", sorted(catalog.remediations()))
def test_each_has_a_change_a_noop_and_a_refusal(name: str) -> None:
    """A remediation without these three kinds of case is not finished."""
    kinds = {path.stem.split("-")[0] for path in (FOLDER / name).glob("*.json")}
    assert kinds == {"change", "noop", "refused"}


def test_effect_names_next_victim_before_and_after() -> None:
    """The card predicts whom the kernel takes next, in the capped cgroup and on the host."""
    small = a_process(10, "leaky", rss_anon_kb=1000)
    large = a_process(11, "neighbour", rss_anon_kb=20_000)
    path = "/system.slice/api.service"
    limit = Cgroup(path=path, limit_kb=65_536, usage_kb=30_000)
    snapshot = a_snapshot(small, large, cgroups={path: limit})
    plan = plans.make(REMEDIATION, Params(pid=10, start_ticks=100, value=500), snapshot, Policy())
    assert plan.effect[0] == f"When {path} hits its limit, next victim: neighbour (11) → leaky (10)"


def test_alone_in_its_cgroup_is_said() -> None:
    """A score can not help a process that is alone under its limit, and the card says so."""
    path = "/system.slice/api.service"
    limit = Cgroup(path=path, limit_kb=65_536, usage_kb=30_000)
    snapshot = a_snapshot(a_process(10, "leaky"), cgroups={path: limit})
    plan = plans.make(REMEDIATION, Params(pid=10, start_ticks=100, value=500), snapshot, Policy())
    assert any("alone in its limited cgroup" in check.text for check in plan.checks if check.ok is None)


def test_suggests_the_restarted_victim() -> None:
    """After a cgroup kill with survivors, the victim's program, restarted, is offered to go first."""
    path = "/system.slice/api.service"
    limit = Cgroup(path=path, limit_kb=2_000_000, usage_kb=30_000)
    again, other = a_process(50, "java", rss_anon_kb=2000), a_process(51, "nginx")
    snapshot = a_snapshot(again, other, cgroups={path: limit})
    assert REMEDIATION.suggest(a_kill(), snapshot) == Params(pid=50, start_ticks=500, value=500)


def test_suggests_nothing_that_can_not_help() -> None:
    """One process alone in the cgroup dies whatever its score: nothing is offered."""
    path = "/system.slice/api.service"
    limit = Cgroup(path=path, limit_kb=2_000_000, usage_kb=30_000)
    snapshot = a_snapshot(a_process(50, "java"), cgroups={path: limit})
    assert REMEDIATION.suggest(a_kill(), snapshot) is None


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"process": "4242:42420", "value": "1001"}, "value"),
        ({"process": "4242:42420", "value": "-5.5"}, "value"),
        ({"process": "4242:42420", "value": "$(reboot)"}, "value"),
        ({"process": "4242", "value": "5"}, "process"),
        ({"process": "-1:1", "value": "5"}, "process"),
        ({}, "process"),
    ],
)
def test_form_fields_are_validated(values: dict[str, str], wrong: str) -> None:
    """Each wrong field of the form is named by its block."""
    with pytest.raises(ConfigError) as caught:
        REMEDIATION.parse(values)
    assert any(problem.startswith(f"{wrong}: ") for problem in caught.value.problems)


def test_form_is_taken() -> None:
    """A good form becomes parameters."""
    assert REMEDIATION.parse({"process": "4242:42420", "value": "-500"}) == Params(
        pid=4242, start_ticks=42420, value=-500
    )
