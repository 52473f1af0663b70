"""The score of a service for good: its form, its undo, and the whole way through verbs and look on files."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oombot import scores
from oombot.data.oombot_eyes import look_unit
from oombot.data.oombot_helper import plan_of
from oombot.data.oombot_verbs import VERBS
from oombot.details import Details
from oombot.engine import plans
from oombot.errors import ConfigError, RefusedError
from oombot.model import HostSnapshot
from oombot.proposals import Plan
from oombot.remediations.oom_score_adjust_unit import REMEDIATION, Params
from oombot.remediations.shape import Target
from oombot.rights import Policy
from tests.examples import a_kill, a_process, a_snapshot
from tests.patients import a_kernel, a_member, a_unit, looked_at
from tests.systemd import Systemd
from tests.test_remediations import the_details

SET = Params(unit="api.service", value=500)
PATH = "/etc/systemd/system/api.service.d/60-oombot.conf"


class Patient:
    """A machine of files, seen and changed as the engine does it."""

    def __init__(self, folder: Path, **unit: Any) -> None:
        self.machine = Systemd(folder)
        self.machine.unit("api.service", **unit)

    def seen(self) -> HostSnapshot:
        """A reading with the look's answer; no limit of another unit waits."""
        unit = look_unit(self.machine.site, {"unit": "api.service", "cgroup": "", "folder": ""})
        details: Details = the_details({"unit": unit, "pending": [], "kernel": {"cgroup_version": 2}})
        rows = [
            a_process(
                member.pid, member.comm, start_ticks=member.start_ticks, oom_score_adj=member.oom_score_adj
            )
            for member in (details.unit.members if details.unit else ())
        ]
        return replace(a_snapshot(*rows, has_systemd=True), details=details)

    def make(self, params: Params = SET) -> Plan:
        """Propose a change."""
        return plans.make(REMEDIATION, params, self.seen(), Policy(), tag="request-1")

    def undo(self, plan: Plan) -> Plan:
        """Propose the undo."""
        return plans.undo(REMEDIATION, plan, self.seen(), Policy(), tag="request-2")

    def run(self, plan: Plan, *, steps: int = 99) -> None:
        """What the helper does with it, or with its first steps."""
        for argv, arguments in plan_of(self.machine.site, plans.wire(plan.steps), None)[:steps]:
            if argv[0] == "set-adj":
                self.write(**arguments)
            else:
                VERBS[argv[0]].act(None, self.machine.site, **arguments)

    def write(self, *, pid: int, start: int, was: int, value: int) -> None:
        """set-adj, where /proc is plain files, which keep what is not written over."""
        path = f"/proc/{pid}/oom_score_adj"
        assert (self.machine.text(path) or "").strip() == str(was)
        assert (self.machine.text(f"/proc/{pid}/stat") or "").split()[21] == str(start)
        self.machine.file(path, f"{value}\n")

    def problems(self, plan: Plan) -> list[str]:
        """What the engine finds wrong after it."""
        return plans.problems_after(REMEDIATION, plan, {}, self.seen())

    def standing(self) -> dict[str, Any]:
        """Files, what systemd holds, and every process's score."""
        shown = self.machine.shown("api.service")["OOMScoreAdjust"]
        adjs = {
            pid: self.machine.text(f"/proc/{pid}/oom_score_adj")
            for pid in self.machine.known("api.service")["pids"]
        }
        return {
            "held": shown,
            "adjs": [text and text.strip() for text in adjs.values()],
            **self.machine.standing(),
        }


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    """api.service with two processes."""
    return Patient(tmp_path, pids=(100, 101))


def test_there_and_back(patient: Patient) -> None:
    """Verified in file, systemd and every process; undone, all of it is as it was."""
    before = patient.standing()
    plan = patient.make()
    patient.run(plan)
    assert patient.problems(plan) == []
    assert (patient.standing()["held"], patient.standing()["adjs"]) == ("500", ["500", "500"])
    undo = patient.undo(plan)
    patient.run(undo)
    assert patient.problems(undo) == []
    assert patient.standing() == before


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_that_was_cut_can_be_undone(patient: Patient, steps: int) -> None:
    """After any step the look tells how far it came, and the undo puts back just that."""
    before = patient.standing()
    plan = patient.make()
    patient.run(plan, steps=steps)
    assert patient.problems(plan) != []
    undo = patient.undo(plan)
    patient.run(undo)
    assert patient.problems(undo) == []
    assert patient.standing() == before


def test_a_crash_before_the_reload_can_be_undone(patient: Patient) -> None:
    """The file there, systemd and processes as before: it is seen, and taken away."""
    before, plan = patient.standing(), patient.make()
    patient.machine.file(
        PATH, "# oombot: request request-1, with this folder\n[Service]\nOOMScoreAdjust=500\n"
    )
    now = plans.state(REMEDIATION, plan, patient.seen())
    assert now == "OOMScoreAdjust of api.service: 0 (drop-in of oombot: 500), no process of it has another"
    undo = patient.undo(plan)
    patient.run(undo)
    assert patient.problems(undo) == []
    assert patient.standing() == before


def test_undo_after_the_service_was_restarted(patient: Patient) -> None:
    """New processes have the value from the drop-in: they get what systemd held before, in a plan of its own."""
    plan = patient.make()
    patient.run(plan)
    subprocess.run([f"{patient.machine.bin}/systemctl", "restart", "--", "api.service"], check=True)
    assert patient.problems(plan) == []
    undo = patient.undo(plan)
    assert undo.params == {
        "unit": "api.service",
        "value": None,
        "restart": False,
        "back_from": 500,
        "back_to": 0,
    }
    assert "has not the same processes" in undo.checks[-1].text
    patient.run(undo)
    assert patient.problems(undo) == []
    assert (patient.standing()["held"], set(patient.standing()["adjs"])) == ("0", {"0"})
    assert patient.machine.text(PATH) is None


def test_undo_restores_the_drop_in_of_before(patient: Patient) -> None:
    """A second change undone leaves the first one's file, byte for byte."""
    patient.run(patient.make())
    before = patient.standing()
    second = patient.make(Params(unit="api.service", value=-100))
    patient.run(second)
    assert patient.problems(second) == []
    patient.run(patient.undo(second))
    assert patient.standing() == before


def test_undo_where_somebody_removed_the_file(patient: Patient) -> None:
    """What is gone already is not removed again; the processes are put back."""
    plan = patient.make()
    patient.run(plan)
    (patient.machine.root / PATH.lstrip("/")).unlink()
    patient.machine.reload()
    undo = patient.undo(plan)
    assert [step.do.argv[0] for step in undo.steps] == ["set-adj", "set-adj"]
    patient.run(undo)
    assert patient.problems(undo) == []


def test_a_restart_must_bring_a_new_run() -> None:
    """With a restart in the plan, the old InvocationID disproves it; a new one does not."""
    snapshot = looked_at(
        a_snapshot(a_process(), has_systemd=True), unit=a_unit(), pending=(), kernel=a_kernel()
    )
    params = replace(SET, restart=True)
    plan = plans.make(REMEDIATION, params, snapshot, Policy(), tag="request-1")
    assert plan.risk_why == "it outlives a reboot, and it ends a running service"
    seen = REMEDIATION.inspect(params, snapshot)
    assert any("still" in problem for problem in REMEDIATION.disproved(plan, seen))
    again = looked_at(snapshot, unit=a_unit(invocation_id="f" * 32))
    assert REMEDIATION.disproved(plan, REMEDIATION.inspect(params, again)) == []


def test_undo_of_a_restart_is_a_plan_of_its_own() -> None:
    """A restart left other processes: the approved undo does not fit them."""
    snapshot = looked_at(
        a_snapshot(a_process(), has_systemd=True), unit=a_unit(), pending=(), kernel=a_kernel()
    )
    params = replace(SET, restart=True)
    plan = plans.make(REMEDIATION, params, snapshot, Policy(), tag="request-1")
    text = "# oombot: request request-1\n[Service]\nOOMScoreAdjust=500\n"
    new = a_unit(
        oom_score_adjust=500, members=(a_member(pid=5000, oom_score_adj=500),), invocation_id="f" * 32
    )
    files = (replace(new.files[0], text=text), *new.files[1:])
    after = looked_at(snapshot, unit=replace(new, files=files), pending=(), kernel=a_kernel())
    assert plans.state(REMEDIATION, plan, after) == plan.after
    undo = plans.undo(REMEDIATION, plan, after, Policy(), tag="request-2")
    assert [step.do.argv[0] for step in undo.steps] == ["remove-adjust", "set-adj"]
    assert (
        undo.after == "OOMScoreAdjust of api.service: 0 (no drop-in of oombot), no process of it has another"
    )


def test_the_line_to_copy_does_the_same(patient: Patient, tmp_path: Path) -> None:
    """What a person types by hand leaves a file that oombot knows as its own, also for a name with a backslash."""
    unit = "a\\x2db.service"
    argv = (
        "write-adjust",
        "--unit",
        unit,
        "--was",
        "ABSENT",
        "--had",
        "0",
        "--value",
        "-5",
        "--tag",
        "request-1",
    )
    step = scores.file_step("why", unit, argv, scores.removal(unit, "-5"))
    (tmp_path / "bin").mkdir()
    for name, text in (("sudo", 'exec "$@"'), ("systemctl", ":")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    line = step.by_hand.replace("/etc/systemd", f"{tmp_path}/etc/systemd")
    subprocess.run(["sh", "-ec", line], env=env, check=True)
    file = tmp_path / scores.drop_in(unit).lstrip("/")
    assert scores.OURS.fullmatch(file.read_text())
    subprocess.run(
        ["sh", "-ec", step.undo_by_hand.replace("/etc/systemd", f"{tmp_path}/etc/systemd")],
        env=env,
        check=True,
    )
    assert not file.exists()


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"unit": "api.service", "value": "1001"}, "value"),
        ({"unit": "api.service", "value": None}, "value"),
        ({"unit": "api.service\n", "value": "5"}, "unit"),
        ({"unit": "../api.service", "value": "5"}, "unit"),
        ({"unit": "-H x.service", "value": "5"}, "unit"),
        ({"unit": "api.slice", "value": "5"}, "unit"),
        ({"unit": "api@.service", "value": "5"}, "unit"),
        ({"unit": "user@0.service", "value": "5"}, "unit"),
        ({"unit": "api.service", "value": "5", "running": "$(reboot)"}, "running"),
    ],
)
def test_form_fields_are_validated(values: dict[str, Any], wrong: str) -> None:
    """Each wrong field of the form is named by its block."""
    with pytest.raises(ConfigError) as caught:
        REMEDIATION.parse(values)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [wrong]


def test_form_is_taken() -> None:
    """A good form becomes parameters, and a restart is asked for by its own field."""
    assert REMEDIATION.parse({"unit": "api.service", "value": "500"}) == SET
    restart = REMEDIATION.parse({"unit": "api.service", "value": "500", "running": "restart"})
    assert restart == replace(SET, restart=True)


@pytest.mark.parametrize(
    ("target", "systemd", "why"),
    [
        (Target(unit="api.service"), True, ""),
        (Target(pid=10), True, ""),
        (Target(), True, ""),
        (Target(pid=11), True, "belongs to no unit"),
        (Target(pid=12), True, "user@1000.service holds"),
        (Target(unit="session-1.scope"), True, "is no service"),
        (Target(unit="ssh.service"), True, "is protected"),
        (Target(unit="api.service"), False, "systemd does not run here"),
    ],
)
def test_it_is_offered_where_it_may_work(target: Target, systemd: bool, why: str) -> None:
    """Where it can not work the reason is given."""
    rows = [
        a_process(10),
        a_process(11, cgroup="/"),
        a_process(12, cgroup="/user.slice/user-1000.slice/user@1000.service/app.slice/x.service"),
    ]
    said = REMEDIATION.unfit(a_snapshot(*rows, has_systemd=systemd), target, Policy())
    assert why in said
    assert bool(said) is bool(why)


def test_suggests_the_culprit_of_a_host_that_ran_out() -> None:
    """After a kill of the whole host the larger survivor's service is offered; after one of a cgroup nothing."""
    big = a_process(60, "big", rss_anon_kb=1_900_000, cgroup="/system.slice/big.service")
    snapshot = a_snapshot(big, a_process(61, "small"), has_systemd=True)
    assert REMEDIATION.suggest(a_kill(scope="global"), snapshot) == Params(unit="big.service", value=500)
    assert REMEDIATION.suggest(a_kill(), snapshot) is None
    session = replace(big, cgroup="/user.slice/user-0.slice/session-1.scope")
    assert REMEDIATION.suggest(a_kill(scope="global"), a_snapshot(session, has_systemd=True)) is None


def test_a_plan_that_was_not_read_is_refused() -> None:
    """A look without the unit refuses with the look's own words."""
    snapshot = looked_at(a_snapshot(), problems=("unit could not be read: no systemctl",))
    with pytest.raises(RefusedError, match="no systemctl"):
        REMEDIATION.inspect(SET, snapshot)
