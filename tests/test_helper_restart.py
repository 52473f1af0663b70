"""The verb restart-unit, on a small systemd and on one that answers line by line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oombot.data.oombot_policy import Policy
from oombot.data.oombot_restart import RESTART_VERBS, Patience, restart_unit
from oombot.data.oombot_site import RefusedError, Site, UntouchedError
from tests.systemd import MIB, Systemd

VERB = RESTART_VERBS["restart-unit"]
AT_ONCE = Patience(stands=0.0, at_most=60.0, between=0.0)
UNIT = "api.service"


@pytest.fixture
def machine(tmp_path: Path) -> Systemd:
    """A machine with a failed and a running service."""
    made = Systemd(tmp_path)
    made.unit(UNIT, state="failed", pids=())
    made.unit("web.service")
    return made


def restarted(machine: Systemd, unit: str = UNIT, **asked: str) -> tuple[str, str]:
    """Restart a unit as it is, unless told otherwise."""
    known = machine.known(unit)
    words = {"was": known["invocation"] or "-", "active": known["active"]} | asked
    return restart_unit(None, machine.site, unit, patience=AT_ONCE, **words)


def test_a_failed_service_is_started(machine: Systemd) -> None:
    """It runs again, as another run, and both are told."""
    was = machine.known(UNIT)["invocation"]
    before, after = restarted(machine)
    now = machine.known(UNIT)["invocation"]
    assert before == f"failed (exit-code), invocation {was}"
    assert (after, now == was) == (f"active (running), invocation {now}", False)
    assert ["systemctl", "restart", "--no-block", "--", UNIT] in machine.calls("restart")


def test_a_running_service_is_restarted(machine: Systemd) -> None:
    """Its process is another one, and nobody else's is."""
    old, other = machine.known("web.service")["pids"], machine.known(UNIT)
    _, after = restarted(machine, "web.service")
    assert after.startswith("active (running)")
    assert machine.known("web.service")["pids"] != old
    assert machine.known(UNIT) == other


def test_the_count_of_starts_is_set_back_first(machine: Systemd) -> None:
    """A unit at its start limit is started all the same."""
    with machine.state() as known:
        known["units"][UNIT].update(starts=5, result="start-limit-hit")
    assert restarted(machine)[1].startswith("active")
    assert [call[1] for call in machine.calls() if call[1] != "show"] == ["reset-failed", "restart"]


def test_a_service_that_dies_again_is_told(machine: Systemd) -> None:
    """What came of the restart is its result, not a failure of the step."""
    with machine.state() as known:
        known["units"][UNIT]["start_fails"] = True
    assert restarted(machine)[1].startswith("failed (exit-code), invocation ")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"was": "f" * 32}, "not as it was when the plan was made; now: failed"),
        ({"was": "-"}, "not as it was when the plan was made"),
        ({"active": "active"}, "not as it was when the plan was made"),
    ],
)
def test_somebody_was_faster(machine: Systemd, asked: dict[str, str], why: str) -> None:
    """A unit that is not as it was seen is left alone, its start limit too."""
    with pytest.raises(UntouchedError, match=why):
        restarted(machine, **asked)
    assert machine.calls("restart") == machine.calls("reset-failed") == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[Unit]\nRefuseManualStart=yes\n", "refuses to be started"),
        ("[Unit]\nRefuseManualStop=yes\n", "refuses to be started"),
        ("[Unit]\nTransient=yes\n", "it is transient"),
    ],
)
def test_some_are_never_restarted(machine: Systemd, text: str, why: str) -> None:
    """Whatever was approved, these are left alone."""
    machine.unit("odd.service", text)
    with pytest.raises(UntouchedError, match=why):
        restarted(machine, "odd.service")
    assert machine.calls("restart") == []


def test_masked_gone_or_by_another_name(machine: Systemd) -> None:
    """A unit must be loaded, and be called by its own name: an alias would lead around the host's policy."""
    (machine.root / "etc/systemd/system/web.service").unlink()
    (machine.root / "etc/systemd/system/web.service").symlink_to("/dev/null")
    machine.unit("db.service", alias="sql.service")
    was = machine.known("db.service")["invocation"]
    for unit, why in (
        ("web.service", "masked"),
        ("none.service", "not-found"),
        ("sql.service", "by the name of db"),
    ):
        with pytest.raises(UntouchedError, match=why):
            restart_unit(None, machine.site, unit, was, "active", AT_ONCE)
    assert machine.calls("restart") == []


def test_no_start_arms_a_kill(machine: Systemd) -> None:
    """A limit of a neighbour that waits below its use stops the restart before anything; the unit's own does not."""
    machine.unit("db.service", current_b=300 * MIB)
    machine.file("/etc/systemd/system/db.service.d/lower.conf", "[Service]\nMemoryMax=100M\n")
    machine.reload()
    with pytest.raises(UntouchedError, match=r"db\.service"):
        restarted(machine)
    assert machine.calls("restart") == machine.calls("reset-failed") == []
    assert machine.known("db.service")["active"] == "active"


def test_what_systemd_refuses_is_told(machine: Systemd) -> None:
    """Its own words are passed on."""
    machine.fails("restart", "Failed to restart: Access denied")
    with pytest.raises(Exception, match="Access denied"):
        restarted(machine)


def test_the_policy_of_the_host_counts(machine: Systemd) -> None:
    """Its units and those never changed are asked before anything is run."""
    policy = Policy(("restart-unit",), ("api*",), ("*",), (0, 0), 9)
    words = {"was": "-", "active": "failed"}
    VERB.allowed(policy, machine.site, unit=UNIT, **words)
    for unit in ("web.service", "ssh.service", "systemd-logind.service"):
        with pytest.raises(RefusedError):
            VERB.allowed(policy, machine.site, unit=unit, **words)


# ---------------------------------------------------------------------- a systemd that answers line by line

OLD, NEW, NEWER = "a" * 32, "b" * 32, "c" * 32
FIRST = {
    "Id": UNIT,
    "LoadState": "loaded",
    "ActiveState": "failed",
    "Result": "oom-kill",
    "InvocationID": OLD,
}
PROGRAM = """#!{python}
import json, pathlib, sys
base = pathlib.Path({base!r})
if "Id" in ",".join(sys.argv) and {unit!r} in sys.argv and "show" in sys.argv:
    rows = json.loads((base / "rows").read_text())
    print("\\n".join(f"{{key}}={{value}}" for key, value in rows[0].items()))
    (base / "rows").write_text(json.dumps(rows[1:] or rows))
"""


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., tuple[str, int]]:
    """Restart a unit of which systemd says one row after the other; gives the end, and how many rows are left."""

    def run(*rows: dict[str, str], stands: float = 0.0, at_most: float = 60.0) -> tuple[str, int]:
        for folder in ("bin", "root/proc", "root/sys/fs/cgroup"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "root/proc/mounts").write_text("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
        (tmp_path / "rows").write_text(json.dumps([FIRST, *({**FIRST, **row} for row in rows)]))
        program = tmp_path / "bin/systemctl"
        program.write_text(PROGRAM.format(python=sys.executable, base=str(tmp_path), unit=UNIT))
        program.chmod(0o755)
        site = Site(root=str(tmp_path / "root"), programs=str(tmp_path / "bin"))
        _, after = restart_unit(None, site, UNIT, OLD, "failed", Patience(stands, at_most, 0.0))
        return after, len(json.loads((tmp_path / "rows").read_text()))

    return run


UP = {"ActiveState": "active", "SubState": "running", "Result": "success", "InvocationID": NEW}
STARTING = {"ActiveState": "activating", "SubState": "start", "InvocationID": NEW, "Job": "7"}


@pytest.mark.parametrize(
    ("rows", "after"),
    [
        ([{"Job": "7"}, STARTING, UP, UP], f"active (running), invocation {NEW}"),
        (
            [{"Job": "7"}, {}],
            f"failed (oom-kill), invocation {OLD}",
        ),  # a dependency failed: it was never begun
        ([STARTING, {"InvocationID": NEW}], f"failed (oom-kill), invocation {NEW}"),
        (
            [STARTING, {"ActiveState": "activating", "SubState": "auto-restart", "InvocationID": NEW}],
            f"activating (auto-restart after oom-kill), invocation {NEW}",
        ),
        (
            [
                STARTING,
                {"ActiveState": "inactive", "SubState": "dead", "InvocationID": NEW, "Type": "oneshot"},
            ],
            f"inactive (dead), invocation {NEW}",
        ),
        ([STARTING, UP | {"Type": "oneshot", "SubState": "exited"}], f"active (exited), invocation {NEW}"),
        ([UP | {"ActiveState": "reloading"}, UP], f"active (running), invocation {NEW}"),
    ],
)
def test_it_is_waited_for_until_it_stands_or_is_down(
    told: Callable[..., tuple[str, int]], rows: list[dict[str, str]], after: str
) -> None:
    """Each of these is an end; what lies on the way to one is not."""
    assert told(*rows) == (after, 1)


@pytest.mark.parametrize(
    ("last", "after"),
    [
        (
            UP | {"InvocationID": NEWER, "NRestarts": "1"},
            f"active (running), invocation {NEWER}, NRestarts 1",
        ),
        ({"InvocationID": NEW}, f"failed (oom-kill), invocation {NEW}"),
        (
            {"ActiveState": "deactivating", "SubState": "stop", "InvocationID": NEW},
            f"deactivating (stop), invocation {NEW}",
        ),
    ],
)
def test_one_that_dies_before_it_has_stood_is_told(
    told: Callable[..., tuple[str, int]], last: dict[str, str], after: str
) -> None:
    """It has to stand for a while: another run, or none, is the end of this one."""
    assert told(UP, UP, UP, last, UP, stands=3600.0)[0] == after


def test_one_that_never_comes_up_is_not_waited_for_without_end(told: Callable[..., tuple[str, int]]) -> None:
    """After so long it is said how it stands."""
    assert told(STARTING, at_most=0.0)[0] == f"activating (start), invocation {NEW}"


def test_one_that_somebody_starts_just_now_is_left_alone(
    told: Callable[..., tuple[str, int]], tmp_path: Path
) -> None:
    """A job in systemd's queue is somebody else's: nothing is put on top of it."""
    told({})
    (tmp_path / "rows").write_text(json.dumps([FIRST | {"Job": "5"}]))
    site = Site(root=str(tmp_path / "root"), programs=str(tmp_path / "bin"))
    with pytest.raises(UntouchedError, match="a job of it in its queue"):
        restart_unit(None, site, UNIT, OLD, "failed", AT_ONCE)
