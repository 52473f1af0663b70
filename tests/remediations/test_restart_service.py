"""What restart_service says beyond its cases: who is offered it, its form, and what disproves it."""

from dataclasses import replace
from typing import Any

import pytest

from oombot.details import UnitDetails
from oombot.engine import plans
from oombot.errors import ConfigError, RefusedError
from oombot.model import HostSnapshot
from oombot.proposals import Plan
from oombot.remediations.restart_service import REMEDIATION, Params
from oombot.remediations.shape import Target
from oombot.rights import Policy
from tests import nouns
from tests.examples import NOW, a_kill, a_process, a_snapshot
from tests.patients import a_kernel, a_unit, looked_at

OLD, NEW = "a" * 32, "b" * 32
FAILED = a_unit(name="api.service", active_state="failed", result="oom-kill", invocation_id=OLD, members=())
STANDS = a_unit(name="api.service", invocation_id=NEW)


def host(unit: UnitDetails, **wanted: Any) -> HostSnapshot:
    """A host with this service."""
    return looked_at(a_snapshot(has_systemd=True, **wanted), unit=unit, pending=(), kernel=a_kernel())


def made(unit: UnitDetails = FAILED, **params: Any) -> Plan:
    """The plan for it."""
    return plans.make(REMEDIATION, Params(unit="api.service", **params), host(unit), Policy(), tag="r1")


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        ({}, ""),
        ({"invocation_id": OLD}, f"its InvocationID is still {OLD}: it was not restarted"),
        ({"active_state": "failed", "result": "oom-kill"}, "it went down again, result oom-kill"),
        ({"active_state": "failed", "result": "oom-kill"}, "but the host reads api.service: failed"),
        ({"n_restarts": 1}, "it has died since: systemd restarted it 1 times"),
        (
            {"active_state": "activating", "sub_state": "auto-restart", "result": "exit-code"},
            "it went down again, result exit-code",
        ),
        ({"active_state": "inactive"}, "but the host reads api.service: inactive"),
    ],
)
def test_the_proof(after: dict[str, Any], problem: str) -> None:
    """Only another run that stands is a restart, and that holds without the reading from before it."""
    seen = host(replace(STANDS, **after))
    found = " | ".join(plans.problems_after(REMEDIATION, made(), {}, seen))
    assert problem in found if problem else not found


def test_a_oneshot_that_is_forgotten_is_not_known() -> None:
    """systemd may have dropped a unit that ran to its end: then nothing is claimed."""
    plan = made(replace(FAILED, type="oneshot"))
    done = replace(STANDS, type="oneshot", active_state="inactive", sub_state="dead")
    assert plans.problems_after(REMEDIATION, plan, {}, host(done)) == []
    with pytest.raises(RefusedError, match="has forgotten"):
        plans.problems_after(REMEDIATION, plan, {}, host(replace(done, invocation_id="")))


def test_a_person_who_was_faster_makes_it_stale() -> None:
    """Another run of the service is another plan."""
    up = replace(STANDS, invocation_id=OLD)
    assert made(up, running=True).digest != made(STANDS, running=True).digest
    assert made().digest == made().digest


def test_it_can_not_be_undone_and_says_so() -> None:
    """There is no undo, before and after."""
    plan = made()
    assert "it can not be undone" in " ".join(plan.effect)
    assert plan.mitigation
    with pytest.raises(RefusedError, match="can not be undone"):
        plans.undo(REMEDIATION, plan, host(STANDS), Policy(), tag="r2")


def test_what_systemd_would_do_is_shown() -> None:
    """OOMPolicy, Restart, the start limit and how often it was restarted stand in the plan."""
    plan = made(replace(FAILED, n_restarts=3, result="start-limit-hit"))
    said = " | ".join([*plan.effect, *(check.text for check in plan.checks)])
    for words in (
        "OOMPolicy=stop: when",
        "Restart=on-failure",
        "5 starts in 10 s (hit now)",
        "restarted it 3 times",
    ):
        assert words in said
    assert "NRestarts=3" in plan.evidence[0].text


@pytest.mark.parametrize(
    ("unit", "offered"),
    [
        ({"active_state": "failed", "result": "oom-kill"}, True),
        ({"active_state": "active"}, False),
        ({"active_state": "activating", "sub_state": "auto-restart"}, False),
        ({"active_state": "inactive", "since_s": NOW - 4}, True),
        ({"active_state": "inactive", "since_s": NOW - 4000}, False),
        ({"active_state": "inactive", "since_s": NOW + 4000}, False),
        ({"active_state": "inactive", "since_s": None}, False),
    ],
)
def test_only_a_victim_that_stayed_down_is_offered(unit: dict[str, Any], offered: bool) -> None:
    """A service that came back, or that a person may have stopped, is not offered."""
    snapshot = a_snapshot(has_systemd=True, units=(nouns.unit(name="api.service", **unit),))
    assert REMEDIATION.suggest(a_kill(), snapshot) == (Params(unit="api.service") if offered else None)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/system.slice/ssh.service", "ssh.service"),
        ("/system.slice/docker-abc.scope/system.slice/api.service", "api.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/api.service", "api.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/api.service", "user@1000.service"),
        (None, "api.service"),
    ],
)
def test_nobody_else_is_offered(path: str | None, name: str) -> None:
    """Protected units, and those of containers and users that bear the name of one, are not."""
    snapshot = a_snapshot(has_systemd=True, units=(nouns.unit(name=name, active_state="failed"),))
    assert REMEDIATION.suggest(a_kill(task_memcg=path), snapshot) is None


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target(unit="api.service"), ""),
        (Target(pid=4242), ""),
        (Target(), ""),
        (Target(pid=8), "belongs to no service"),
        (Target(pid=9), "restart them where they were started"),
        (Target(unit="ssh.service"), "protected"),
        (Target(unit="docker-abc.scope"), "restart them where they were started"),
        (Target(unit="system.slice"), "is no service"),
    ],
)
def test_unfit(target: Target, why: str) -> None:
    """It is offered for services only, and says why not."""
    others = (a_process(8, cgroup="/kubepods/pod1/api.service"), a_process(9, cgroup="/init.scope"))
    snapshot = a_snapshot(a_process(4242), *others, has_systemd=True)
    found = REMEDIATION.unfit(snapshot, target, Policy())
    assert why in found if why else not found
    assert "systemd does not run" in REMEDIATION.unfit(replace(snapshot, has_systemd=False), target, Policy())


def test_the_form_is_filled_in() -> None:
    """The service asked about comes first, then those that failed; protected ones are not there."""
    names = [f"s{number:03}.service" for number in range(150)]
    units = [nouns.unit(name=name, active_state="active") for name in (*names, "ssh.service")]
    units += [nouns.unit(name="zoo.service", active_state="failed")]
    snapshot = a_snapshot(
        a_process(4242, cgroup="/system.slice/s149.service"), has_systemd=True, units=tuple(units)
    )
    unit, when = REMEDIATION.fields(snapshot, Target(pid=4242), Policy())
    assert [option.value for option in unit.options[:3]] == ["s149.service", "zoo.service", "s000.service"]
    assert (len(unit.options), unit.initial, when.initial) == (100, "s149.service", "running")
    asked, _ = REMEDIATION.fields(snapshot, Target(unit="gone.service"), Policy())
    assert asked.options[0].value == asked.initial == "gone.service"


def test_the_form_is_read() -> None:
    """A good form becomes parameters."""
    assert REMEDIATION.parse({"unit": "api.service", "when": "down"}) == Params(unit="api.service")
    assert REMEDIATION.parse({"unit": "a@b.service", "when": "running"}).running


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"unit": "-H x.service", "when": "down"}, "unit"),
        ({"unit": "$(reboot).service", "when": "down"}, "unit"),
        ({"unit": "api.service\n", "when": "down"}, "unit"),
        ({"unit": "system.slice", "when": "down"}, "unit"),
        ({"unit": "api.service", "when": "now"}, "when"),
        ({}, "unit"),
        ({}, "when"),
    ],
)
def test_wrong_fields_are_named(values: dict[str, str], wrong: str) -> None:
    """Each wrong field is named by its block."""
    with pytest.raises(ConfigError) as caught:
        REMEDIATION.parse(values)
    assert any(problem.startswith(f"{wrong}: ") for problem in caught.value.problems)
