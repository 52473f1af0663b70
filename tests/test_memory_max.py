"""memory_max on the bot's side: the form, what is offered after a kill, the way back, and what counts as proof."""

import json
import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.details import Details, UnitFile
from oombot.engine import plans
from oombot.errors import ConfigError, RefusedError
from oombot.model import Cgroup, HostSnapshot, Task
from oombot.proposals import Plan
from oombot.remediations.memory_max import REMEDIATION, Params
from oombot.remediations.shape import Target
from oombot.rights import Policy
from tests import nouns
from tests.examples import GIB, a_kill, a_process, a_snapshot
from tests.patients import a_cgroup, a_kernel, a_pending, a_unit, unit_files

MIB = 1 << 20
CAP = Params(unit="api.service", memory_max=str(512 * MIB))
GOOD = replace(CAP, lasting="good")
OWN = "[Service]\n# ours, do not touch\nMemoryMax=2G\n"


def host(*, unit: Any = None, cgroup: Any = None, pending: Any = (), **fields: Any) -> HostSnapshot:
    """api.service and its cgroup on a host of 4 GiB."""
    details = Details(
        unit=unit or a_unit(),
        cgroup=cgroup or a_cgroup(),
        pending=pending,
        kernel=a_kernel(),
    )
    return a_snapshot(has_systemd=True, details=details, **fields)


def after(params: Params, **fields: Any) -> HostSnapshot:
    """The host once these limits are set."""
    folder = "/etc" if params.lasting == "good" else "/run"
    path = f"{folder}/systemd/system.control/api.service.d/50-MemoryMax.conf"
    files = tuple(
        UnitFile(path=path, text=f"[Service]\nMemoryMax={params.memory_max}\n") if one.path == path else one
        for one in fields.pop("files", unit_files())
    )
    cap = int(params.memory_max)
    unit = a_unit(memory_max_b=cap, files=files)
    return host(unit=unit, cgroup=a_cgroup(max_b=cap, **fields.pop("cgroup", {})), **fields)


def planned(params: Params = CAP, snapshot: HostSnapshot | None = None) -> Plan:
    """The plan on a quiet host."""
    return plans.make(REMEDIATION, params, snapshot or host(), Policy(), tag="r1")


@pytest.mark.parametrize(
    ("values", "params"),
    [
        ({"memory_max": "512M"}, CAP),
        ({"memory_max": "512M", "lasting": "good"}, GOOD),
        ({"memory_high": "infinity"}, Params(unit="api.service", memory_high="infinity")),
        ({"memory_swap_max": "0"}, Params(unit="api.service", memory_swap_max="0")),
    ],
)
def test_form_is_taken(values: dict[str, str], params: Params) -> None:
    """Sizes become bytes; what was left empty stays as it is."""
    assert REMEDIATION.parse({"unit": "api.service", **values}) == params


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"memory_max": "0"}, "memory_max"),
        ({"memory_high": "0"}, "memory_high"),
        ({"memory_max": "-1"}, "memory_max"),
        ({"memory_max": "9999999T"}, "memory_max"),
        ({"memory_max": "lots"}, "memory_max"),
        ({"memory_swap_max": "$(reboot)"}, "memory_swap_max"),
        ({}, "memory_high"),
        ({"memory_max": "512M", "unit": "-H evil.service"}, "unit"),
        ({"memory_max": "512M", "unit": "../../x.service"}, "unit"),
        ({"memory_max": "512M", "unit": "a.service\nb.service"}, "unit"),
        ({"memory_max": "512M", "unit": ""}, "unit"),
        ({"memory_max": "512M", "lasting": "forever"}, "lasting"),
    ],
)
def test_form_fields_are_validated(values: dict[str, str], wrong: str) -> None:
    """Each wrong field of the form is named by its block."""
    with pytest.raises(ConfigError) as caught:
        REMEDIATION.parse({"unit": "api.service", **values})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [wrong]


def test_gentle_choice_stands_first() -> None:
    """MemoryHigh is asked for before MemoryMax."""
    names = [field.name for field in REMEDIATION.fields(host(), Target(), Policy())]
    assert names == ["unit", "memory_high", "memory_max", "memory_swap_max", "lasting"]


def test_form_lists_what_may_be_limited() -> None:
    """Running services and slices, the largest first; no scope, no user's, none that holds the host."""
    paths = {
        "/": 9,
        "/system.slice": 8,
        "/system.slice/big.service": 7,
        "/system.slice/ssh.service": 6,
        "/user.slice/user-1000.slice": 5,
        "/batch.slice": 4,
        "/system.slice/small.service": 3,
        "/user.slice/user-1000.slice/user@1000.service/app.slice/mine.service": 5,
    }
    cgroups = {path: Cgroup(path=path, limit_kb=None, usage_kb=used) for path, used in paths.items()}
    named = ("small.service", "big.service", "ssh.service")
    units = tuple(nouns.unit(name=name, control_group=f"/system.slice/{name}") for name in named)
    [unit, *_] = REMEDIATION.fields(host(cgroups=cgroups, units=units), Target(), Policy())
    assert [option.value for option in unit.options] == ["big.service", "batch.slice", "small.service"]


def test_unit_of_a_process_is_filled_in() -> None:
    """Asked about a process, the form is about its service."""
    snapshot = replace(host(), processes=(a_process(10, "java"),))
    [unit, *_] = REMEDIATION.fields(snapshot, Target(pid=10), Policy())
    assert unit.initial == "api.service"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Target(unit="api.service"), ""),
        (Target(unit=f"docker-{'ab12' * 16}.scope"), "docker update --memory"),
        (Target(unit="init.scope"), "can not be reached or run without"),
        (Target(unit="session-1.scope"), "who made it sets its limits"),
        (Target(unit="web.socket"), "no service and no slice"),
        (Target(pid=11), "session-1.scope is a scope"),
        (Target(pid=12), "change resources.limits of the pod"),
    ],
)
def test_what_can_not_be_limited_is_said_before_the_form(target: Target, said: str) -> None:
    """A container, a session, a scope: the reason names what to do instead."""
    pod = f"/kubepods.slice/kubepods-pod0e6f4a5c_1b2c_4d3e_8f90_a1b2c3d4e5f6.slice/cri-containerd-{'3f2a' * 16}.scope"
    login = a_process(11, "bash", cgroup="/user.slice/user-1000.slice/session-1.scope")
    snapshot = replace(host(), processes=(login, a_process(12, "app", cgroup=pod)))
    found = REMEDIATION.unfit(snapshot, target, Policy())
    assert said in found
    assert bool(found) is bool(said)


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_unit_that_is_down_is_started_first(state: str) -> None:
    """The menu says so, and not only the refusal of a form that was filled in for nothing."""
    down = nouns.unit("api.service", active_state=state)
    found = REMEDIATION.unfit(replace(host(), units=(down,)), Target(unit="api.service"), Policy())
    assert found == f"api.service is not running ({state}): start it first"


def test_it_takes_systemd() -> None:
    """Without systemd there are no units."""
    assert "systemd" in REMEDIATION.unfit(replace(host(), has_systemd=False), Target(), Policy())


# ---------------------------------------------------------------- what is offered


API = "/system.slice/api.service"


def killed_host(limit_kb: int | None = GIB // 2, path: str = API, **fields: Any) -> HostSnapshot:
    """The host after a kill, with one cgroup."""
    cgroup = Cgroup(path=path, limit_kb=limit_kb, usage_kb=200_000, version=2)
    return a_snapshot(has_systemd=True, cgroups={path: cgroup}, **fields)


def test_limit_that_was_hit_is_raised() -> None:
    """Peak and a quarter, where RAM has room, until the next boot."""
    kill = a_kill(memory_limit_kb=GIB // 2, memory_usage_kb=GIB // 2)
    assert REMEDIATION.suggest(kill, killed_host()) == Params(unit="api.service", memory_max=str(640 * MIB))


@pytest.mark.parametrize(
    ("kill", "snapshot"),
    [
        ({}, killed_host(limit_kb=GIB)),
        ({}, killed_host(memory_kb={"MemTotal": GIB, "MemAvailable": GIB // 8})),
        ({}, killed_host(limit_kb=None)),
        ({}, replace(killed_host(), has_systemd=False)),
        ({"oom_memcg": "/system.slice"}, killed_host(path="/system.slice")),
        ({"oom_memcg": f"{API}/inner"}, killed_host(path=f"{API}/inner")),
        ({"oom_memcg": "/system.slice/ssh.service"}, killed_host(path="/system.slice/ssh.service")),
        ({"oom_memcg": f"/system.slice/docker-{'ab12' * 16}.scope"}, killed_host()),
        ({"oom_memcg": None}, killed_host()),
        ({"scope": None}, killed_host()),
    ],
)
def test_no_raise_that_can_not_help(kill: dict[str, Any], snapshot: HostSnapshot) -> None:
    """No room in RAM, changed meanwhile, no unit of the host's own, or a protected one: nothing is offered."""
    assert REMEDIATION.suggest(a_kill(memory_limit_kb=GIB // 2, **kill), snapshot) is None


def a_task(pid: int, name: str, rss_kb: int) -> Task:
    """A row of the report's table."""
    return Task(pid=pid, tgid=pid, uid=0, name=name, rss_kb=rss_kb, swap_kb=0, pgtables_kb=0, oom_score_adj=0)


MEMORY = {"MemTotal": 4 * GIB, "MemAvailable": 3 * GIB, "SwapTotal": 0, "SwapFree": 0}


@pytest.mark.parametrize(("version", "field"), [(2, "memory_high"), (1, "memory_max")])
def test_unit_that_took_the_host_down_is_throttled(version: int, field: str) -> None:
    """After a global kill the service that held most is held to what RAM leaves it; v1 has no MemoryHigh."""
    kill = a_kill(
        scope="global", oom_memcg=None, tasks=(a_task(4242, "java", 3 * GIB), a_task(7, "sshd", 900))
    )
    cgroup = Cgroup(path=API, limit_kb=None, usage_kb=200_000, version=version)
    snapshot = a_snapshot(has_systemd=True, cgroups={API: cgroup}, memory_kb=MEMORY)
    found = REMEDIATION.suggest(kill, snapshot)
    others_kb = GIB - 200_000
    value = (4 * GIB * 1024 * 9 // 10 - others_kb * 1024) // (16 * MIB) * (16 * MIB)
    assert found == Params(unit="api.service", **{field: str(value)})


def test_survivor_that_held_more_is_throttled_instead_of_the_victim() -> None:
    """Not the victim's unit, but that of the process which held more and lives on."""
    kill = a_kill(
        scope="global",
        oom_memcg=None,
        task_memcg="/system.slice/small.service",
        tasks=(a_task(4242, "java", GIB // 4), a_task(60, "hog", 2 * GIB)),
    )
    snapshot = killed_host(limit_kb=None, memory_kb=MEMORY)
    snapshot = replace(snapshot, processes=(a_process(60, "hog", cgroup=API),))
    found = REMEDIATION.suggest(kill, snapshot)
    assert found is not None
    assert found.unit == "api.service"


@pytest.mark.parametrize(
    "fields",
    [
        {"tasks": ()},
        {"task_memcg": "/user.slice/user-1000.slice/session-1.scope"},
        {"task_memcg": None},
        {"task_memcg": "/system.slice/other.service"},
    ],
)
def test_nobody_is_throttled_on_a_guess(fields: dict[str, Any]) -> None:
    """Without a task table, or where the largest is in no unit of the host's, nothing is offered."""
    told = {"tasks": (a_task(4242, "java", 3 * GIB),), "task_memcg": API}
    kill = a_kill(scope="global", oom_memcg=None, **{**told, **fields})
    assert REMEDIATION.suggest(kill, killed_host(limit_kb=None, memory_kb=MEMORY)) is None


# ---------------------------------------------------------------- the way back


def test_undo_leaves_the_folders_that_stood() -> None:
    """What set-property need not make, the way back does not take away."""
    folders = ("/etc/systemd/system.control", "/etc/systemd/system.control/api.service.d")
    undo = planned(GOOD, host(unit=a_unit(folders=folders))).steps[0].undo
    assert undo is not None
    assert undo.argv[-2:] == ("--stood", "control,control/unit")


def test_undo_carries_the_old_files() -> None:
    """The texts that stood there go along, and belong to what is approved."""
    files = unit_files(**{"etc/50-MemoryMax.conf": OWN})
    plan = planned(GOOD, host(unit=a_unit(memory_max_b=2 << 30, files=files), cgroup=a_cgroup(max_b=2 << 30)))
    undo = plan.steps[0].undo
    assert undo is not None
    assert json.loads(undo.stdin) == {"control/MemoryMax": OWN, "runtime/MemoryMax": None}
    other = unit_files(**{"etc/50-MemoryMax.conf": OWN + "# more\n"})
    again = planned(
        GOOD, host(unit=a_unit(memory_max_b=2 << 30, files=other), cgroup=a_cgroup(max_b=2 << 30))
    )
    assert plan.digest != again.digest


def test_undo_by_hand_is_one_true_line() -> None:
    """The line a person may copy writes the old bytes through sh, whatever stands in a comment."""
    text = "[Service]\n# 100 % \\ $HOME `id` 'quoted'\nMemoryMax=2G\n"
    files = unit_files(**{"etc/50-MemoryMax.conf": text})
    snapshot = host(unit=a_unit(memory_max_b=2 << 30, files=files), cgroup=a_cgroup(max_b=2 << 30))
    line = planned(GOOD, snapshot).steps[0].undo_by_hand
    assert "\n" not in line
    words = shlex.split(line)
    escaped = words[words.index("%b") + 1]
    assert escaped.replace("\\n", "\n").replace("\\\\", "\\") == text
    assert words[:5] == ["sudo", "systemctl", "set-property", "--runtime", "--"]


@pytest.mark.parametrize("params", [CAP, GOOD])
def test_undo_of_what_stands(params: Params) -> None:
    """While the limit stands as it was set, the approved way back is taken."""
    plan = planned(params)
    undoing = plans.undo(REMEDIATION, plan, after(params), Policy(), tag="r2")
    assert [step.do for step in undoing.steps] == [plan.steps[0].undo]
    assert undoing.after == plan.before


def test_undo_of_what_somebody_else_has_changed_is_a_new_plan() -> None:
    """Then the old limit is a plan of its own, from what stands there now."""
    plan = planned()
    snapshot = after(replace(CAP, memory_max=str(1024 * MIB)))
    undoing = plans.undo(REMEDIATION, plan, snapshot, Policy(), tag="r2")
    words = undoing.steps[0].do.argv
    assert words[words.index("--max") : words.index("--files")] == (
        *("--max", "infinity"),
        *("--max-was", str(1024 * MIB)),
    )


def test_undo_that_would_kill_is_refused() -> None:
    """An old cap under what the unit has grown to since is not put back."""
    plan = planned(
        replace(CAP, memory_max=str(1024 * MIB)),
        host(unit=a_unit(memory_max_b=400 * MIB), cgroup=a_cgroup(max_b=400 * MIB)),
    )
    grown = after(replace(CAP, memory_max=str(1024 * MIB)), cgroup={"current_b": 700 * MIB})
    with pytest.raises(RefusedError, match="MemoryMax 400M is at least the floor"):
        plans.undo(REMEDIATION, plan, grown, Policy(), tag="r2")


def test_undo_arms_no_kill_of_another_unit() -> None:
    """The way back ends with a daemon-reload, so limits that systemd has not read yet count too."""
    with pytest.raises(RefusedError, match=r"db\.service: MemoryMax"):
        plans.undo(
            REMEDIATION, planned(), after(CAP, pending=(a_pending(in_files=True),)), Policy(), tag="r2"
        )


# ---------------------------------------------------------------- proof


@pytest.mark.parametrize(
    ("cgroup", "unit", "said"),
    [
        ({}, {}, ""),
        ({"events": {"oom_kill": 1}}, {}, "oom_kill of memory.events 0 → 1"),
        ({}, {"invocation_id": "f" * 32}, "was restarted meanwhile"),
        ({"max_b": None}, {}, "wanted MemoryMax 512M"),
    ],
)
def test_what_counts_as_proof(cgroup: dict[str, Any], unit: dict[str, Any], said: str) -> None:
    """The kernel's limit as wanted, nobody killed since, the unit not restarted."""
    plan, done = planned(), after(CAP)
    assert done.details.unit is not None
    assert done.details.cgroup is not None
    details = replace(
        done.details, unit=replace(done.details.unit, **unit), cgroup=replace(done.details.cgroup, **cgroup)
    )
    before = plans.witness(REMEDIATION, plan, host())
    problems = plans.problems_after(REMEDIATION, plan, before, replace(done, details=details))
    assert said in " ".join(problems)
    assert bool(problems) is bool(said)


@pytest.mark.parametrize("before", [{}, {"oom_kill": None}])
def test_what_is_not_known_is_no_proof(before: dict[str, Any]) -> None:
    """Where nobody knows the count of kills from before, it is neither verified nor contradicted."""
    plan, done = planned(), after(CAP)
    assert done.details.unit is not None
    known = before | {"invocation": done.details.unit.invocation_id}
    with pytest.raises(RefusedError, match="not known whether anybody was killed"):
        plans.problems_after(REMEDIATION, plan, known, done)


def test_it_settles_for_five_seconds() -> None:
    """A kill by the new limit comes within them."""
    assert planned().settle_s == 5.0


def test_a_cap_under_use_is_black() -> None:
    """Nobody may approve it."""
    snapshot = host(cgroup=a_cgroup(current_b=900 * MIB))
    tier, why = REMEDIATION.risk(CAP, REMEDIATION.inspect(CAP, snapshot))
    assert (tier, why) == ("black", "a cap under current use (512M, it holds 860 MiB)")


@given(st.text(), st.text(), st.text())
def test_no_text_of_a_form_becomes_an_option_or_a_second_word(unit: str, size: str, lasting: str) -> None:
    """Whatever is typed, what reaches the host is a unit's name, decimal bytes, and one of two words."""
    try:
        params = REMEDIATION.parse({"unit": unit, "memory_max": size, "lasting": lasting})
    except ConfigError:
        return
    assert params.unit == unit.strip()
    assert not params.unit.startswith("-")
    assert params.memory_max.isdecimal() or params.memory_max == "infinity"
