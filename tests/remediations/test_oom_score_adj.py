"""What oom_score_adj predicts, suggests and asks for; its plans are in the cases beside."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from oombot.engine import plans
from oombot.errors import ConfigError, RefusedError
from oombot.model import Cgroup, Process
from oombot.proposals import Plan
from oombot.remediations.oom_score_adj import REMEDIATION, Params
from oombot.remediations.shape import Target
from oombot.rights import Policy
from tests.examples import a_kill, a_process, a_snapshot


def test_effect_names_next_victim_before_and_after() -> None:
    """The card predicts whom the kernel takes next, in the capped cgroup and on the host."""
    small = a_process(10, "leaky", rss_anon_kb=1000)
    large = a_process(11, "neighbour", rss_anon_kb=20_000)
    path = "/system.slice/api.service"
    limit = Cgroup(path=path, limit_kb=65_536, usage_kb=30_000)
    snapshot = a_snapshot(small, large, cgroups={path: limit})
    plan = plans.make(REMEDIATION, Params(pid=10, start_ticks=100, value=500), snapshot, Policy(), tag="r1")
    assert plan.effect[0] == f"When {path} hits its limit, next victim: neighbour (11) → leaky (10)"


PATH = "/system.slice/api.service"
CAPPED = {PATH: Cgroup(path=PATH, limit_kb=2_000_000, usage_kb=30_000)}


@pytest.mark.parametrize(
    ("fields", "effect"),
    [
        ({}, "next victim: b (11) → a (10)"),
        (
            {"processes_whole": False},
            "next victim: not known (the process table of host42 could not be read whole)",
        ),
        ({"memory_kb": {}}, "next victim: not known (the memory of host42 could not be read)"),
        ({"memory_kb": {"MemTotal": 4_000_000}}, "next victim: not known (the memory of host42"),
    ],
)
def test_next_victim_is_named_only_when_known(fields: dict[str, Any], effect: str) -> None:
    """Without all processes and the host's memory nobody is named, in no scope."""
    two = a_process(10, "a", rss_anon_kb=1000), a_process(11, "b", rss_anon_kb=9000)
    snapshot = a_snapshot(*two, cgroups=CAPPED, **fields)
    plan = plans.make(REMEDIATION, Params(pid=10, start_ticks=100, value=500), snapshot, Policy(), tag="r1")
    assert len(plan.effect) == 3
    assert all(effect in line for line in plan.effect[:2])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"rss_anon_kb": None},
            "a (10) → a (10) among those that could be read (the memory of 1 of its proc",
        ),
        ({"oom_score_adj": None}, "among those that could be read"),
        ({"rss_anon_kb": None, "oom_score": 0}, "next victim: a (10) → a (10)"),
        ({"rss_anon_kb": None, "oom_score": None, "uid": None}, "next victim: a (10) → a (10)"),
        ({"oom_score_adj": -1000, "rss_anon_kb": None}, "next victim: a (10) → a (10)"),
    ],
)
def test_unread_processes_are_mentioned(other: dict[str, Any], said: str) -> None:
    """A process whose memory was not read may be the next victim; a zombie, a gone or an exempt one is not."""
    snapshot = a_snapshot(a_process(10, "a"), a_process(11, "b", **other), cgroups=CAPPED)
    plan = plans.make(REMEDIATION, Params(pid=10, start_ticks=100, value=500), snapshot, Policy(), tag="r1")
    assert all(line.endswith(said) or said in line for line in plan.effect[:2])
    assert ("among those" in plan.effect[0]) is ("among those" in said)
    assert any("alone in its limited" in check.text for check in plan.checks) is ("among" not in said)


def test_a_kernel_that_does_not_tell_memory() -> None:
    """Where no process tells its memory (RssAnon is of Linux 4.5), nobody is named."""
    snapshot = a_snapshot(a_process(10, "a", rss_anon_kb=None), a_process(11, "b", rss_anon_kb=None))
    plan = plans.make(REMEDIATION, Params(pid=10, start_ticks=100, value=500), snapshot, Policy(), tag="r1")
    assert plan.effect[:-1] == (
        "On the whole host, next victim: not known (the memory of 2 of its processes could not be read)",
    )


def test_alone_is_not_said_of_a_partial_table() -> None:
    """Others may be hidden in the cgroup."""
    snapshot = a_snapshot(a_process(10, "leaky"), cgroups=CAPPED, processes_whole=False)
    plan = plans.make(REMEDIATION, Params(pid=10, start_ticks=100, value=500), snapshot, Policy(), tag="r1")
    assert not any("alone in its limited cgroup" in check.text for check in plan.checks)


BIG = {"rss_anon_kb": 1_500_000}
FIRST = Params(pid=60, start_ticks=600, value=500)
SMALLER = Params(pid=61, start_ticks=610, value=500)


@pytest.mark.parametrize(
    ("largest", "fields", "suggested"),
    [
        ({}, {}, FIRST),
        ({"oom_score_adj": -1}, {}, SMALLER),
        ({"oom_score_adj": -900}, {}, SMALLER),
        ({"oom_score_adj": 500}, {}, None),
        ({}, {"own_pids": frozenset({60})}, SMALLER),
        ({}, {"processes_whole": False}, None),
        ({"kernel_thread": True}, {}, SMALLER),
        ({}, {"login_uid": 1000, "can_sudo": False}, FIRST),
        ({"uid": 33}, {"login_uid": 1000, "can_sudo": False}, SMALLER),
        ({"uid": 33}, {"login_uid": 1000, "can_sudo": True}, FIRST),
        ({"uid": 33}, {"login_uid": 1000, "can_sudo": None}, FIRST),
    ],
)
def test_suggests_nobody_that_is_protected(
    largest: dict[str, Any], fields: dict[str, Any], suggested: Params | None
) -> None:
    """The largest survivor is offered to go first unless it is protected, ours, or out of the login's reach."""
    one = a_process(60, "big", **(BIG | {"rss_anon_kb": 1_900_000} | largest))
    two, three = a_process(61, "smaller", **BIG), a_process(62, "tiny")
    snapshot = a_snapshot(one, two, three, cgroups=CAPPED, **fields)
    assert REMEDIATION.suggest(a_kill(), snapshot) == suggested


def test_init_is_never_suggested() -> None:
    """PID 1 is not offered, however large."""
    snapshot = a_snapshot(a_process(1, "systemd", **BIG), a_process(62, "tiny"), cgroups=CAPPED)
    assert REMEDIATION.suggest(a_kill(), snapshot) is None


def test_alone_in_its_cgroup_is_said() -> None:
    """A score can not help a process that is alone under its limit, and the card says so."""
    path = "/system.slice/api.service"
    limit = Cgroup(path=path, limit_kb=65_536, usage_kb=30_000)
    snapshot = a_snapshot(a_process(10, "leaky"), cgroups={path: limit})
    plan = plans.make(REMEDIATION, Params(pid=10, start_ticks=100, value=500), snapshot, Policy(), tag="r1")
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


def test_a_unit_is_taken() -> None:
    """The form's choice may be a service or a scope; any other name is none."""
    assert REMEDIATION.parse({"process": "api.service", "value": "-500"}) == Params(
        unit="api.service", value=-500
    )
    for name in ("api.slice", "-H x.service", "api.service\n", "../api.service", "*", "$(reboot).service"):
        with pytest.raises(ConfigError):
            REMEDIATION.parse({"process": name, "value": "-500"})


def test_form_offers_the_target_and_its_unit() -> None:
    """For a process: it, and every process of its unit; for a unit: that first; every choice can be parsed."""
    snapshot = a_snapshot(a_process(10, "java"), a_process(11, "nginx", cgroup="/system.slice/nginx.service"))
    process, _ = REMEDIATION.fields(snapshot, Target(pid=10, start_ticks=100), Policy())
    assert ([option.value for option in process.options], process.initial) == (
        ["10:100", "api.service"],
        "10:100",
    )
    process, _ = REMEDIATION.fields(snapshot, Target(unit="nginx.service"), Policy())
    assert ([option.value for option in process.options], process.initial) == (
        ["nginx.service", "11:110"],
        "nginx.service",
    )
    process, _ = REMEDIATION.fields(snapshot, Target(), Policy())
    assert [REMEDIATION.parse({"process": one.value, "value": "1"}).value for one in process.options] == [
        1
    ] * 4


def test_so_many_processes_are_not_changed() -> None:
    """A unit of more than 200 processes is refused, with the number."""
    crowd = [a_process(1000 + at, "php-fpm") for at in range(201)]
    with pytest.raises(RefusedError, match="has 201 processes"):
        plans.make(REMEDIATION, Params(unit="api.service", value=500), a_snapshot(*crowd), Policy(), tag="r1")


UNIT = Params(unit="api.service", value=500)
ONE, TWO = a_process(10, "java"), a_process(11, "worker")


def undone(*now: Process, before: tuple[Process, ...] = (ONE, TWO)) -> Plan:
    """The undo of a change of `before`, planned where the unit is `now`."""
    plan = plans.make(REMEDIATION, UNIT, a_snapshot(*before), Policy(), tag="r1")
    return plans.undo(REMEDIATION, plan, a_snapshot(*now), Policy(), tag="r2")


def changed(process: Process, adj: int = 500) -> Process:
    """The process with another score."""
    return replace(process, oom_score_adj=adj)


def words(plan: Plan) -> list[tuple[str, ...]]:
    """Which pid gets which value instead of which."""
    return [(step.do.argv[2], step.do.argv[6], step.do.argv[8]) for step in plan.steps]


def test_undo_of_a_unit_that_is_the_same() -> None:
    """While the processes are those that were changed, the approved undo is what runs."""
    plan = undone(changed(ONE), changed(TWO))
    assert words(plan) == [("11", "500", "0"), ("10", "500", "0")]
    assert plan.params == asdict(UNIT)


@pytest.mark.parametrize("came", [(), (a_process(12, "worker"),)])
def test_undo_of_a_unit_whose_processes_came_and_went(came: tuple[Process, ...]) -> None:
    """A process that ended does not stop the undo, and one that inherited the value is put back with the others."""
    plan = undone(changed(ONE), *(changed(process) for process in came))
    assert words(plan) == [("10", "500", "0"), *(("12", "500", "0") for _ in came)]
    assert plan.after == "oom_score_adj of api.service: 0"


def test_undo_keeps_what_had_the_value_before() -> None:
    """A process that had the value before the change keeps it."""
    plan = undone(changed(ONE), changed(TWO), before=(changed(ONE), TWO))
    assert words(plan) == [("11", "500", "0")]


def test_undo_of_different_values_needs_the_same_processes() -> None:
    """Where processes had different values and one of them is gone, nobody guesses."""
    with pytest.raises(
        RefusedError, match=r"has not the same processes any more\. It is not undone by itself"
    ):
        undone(changed(ONE), before=(ONE, changed(TWO, 200)))
