"""The small systemd of the tests does what the real one was measured to do."""

import pytest

from oombot.data.oombot_site import StepError, tell
from oombot.data.oombot_systemd import cgroup_at, show, show_all
from tests.systemd import MIB, Systemd
from tests.systemd_program import HEADER


@pytest.fixture
def machine(tmp_path):
    """A machine with two units in system.slice."""
    found = Systemd(tmp_path)
    found.unit("web.service", current_b=300 * MIB, alias="www.service")
    found.unit("db.service", current_b=100 * MIB, inactive_file_b=40 * MIB)
    return found


def test_set_property_writes_its_file_and_sets_the_cgroup_at_once(machine):
    """The file is the one that systemd writes, for good or until the next boot; the cgroup has the value."""
    tell(machine.site, "systemctl", "set-property", "web.service", "MemoryMax=536870912")
    tell(machine.site, "systemctl", "set-property", "--runtime", "web.service", "MemoryHigh=512M")
    kept, runtime = (f"/{at}/systemd/system.control/web.service.d" for at in ("etc", "run"))
    assert machine.text(f"{kept}/50-MemoryMax.conf") == f"{HEADER}[Service]\nMemoryMax=536870912\n"
    assert machine.text(f"{runtime}/50-MemoryHigh.conf") == f"{HEADER}[Service]\nMemoryHigh=536870912\n"
    assert cgroup_at(machine.site, "/system.slice/web.service").number("memory.max") == 512 * MIB
    assert show(machine.site, "web.service", "MemoryMax,NeedDaemonReload") == {
        "MemoryMax": "536870912",
        "NeedDaemonReload": "no",
    }


def test_a_drop_in_and_a_reload_arm_a_kill_that_another_start_sets_off(machine):
    """A limit below use is held after daemon-reload, and kills when a unit of the same slice is restarted."""
    machine.file("/etc/systemd/system/web.service.d/x.conf", "[Service]\nMemoryMax=100M\n")
    assert show(machine.site, "web.service", "NeedDaemonReload,MemoryMax")["MemoryMax"] == "infinity"
    assert machine.shown("web.service")["NeedDaemonReload"] == "yes"
    tell(machine.site, "systemctl", "daemon-reload")
    assert machine.cgroup_file("web.service", "memory.max") == "max"
    assert machine.known("web.service")["active"] == "active"
    tell(machine.site, "systemctl", "restart", "--", "db.service")
    assert machine.known("web.service")["result"] == "oom-kill"
    assert cgroup_at(machine.site, "/system.slice/web.service").pids() == []


def test_a_transient_unit_arms_its_slice_only(machine):
    """systemd-run sets what waits in the slice that its unit goes to, and in no other."""
    machine.file("/etc/systemd/system/web.service.d/x.conf", "[Service]\nMemoryMax=100M\n")
    machine.reload()
    tell(machine.site, "systemd-run", "--slice=-.slice", "true")
    assert machine.known("web.service")["active"] == "active"
    tell(machine.site, "systemd-run", "--unit=x", "true")
    assert machine.known("web.service")["active"] == "failed"


def test_show_follows_aliases_and_patterns(machine):
    """An alias leads to its unit; a pattern gives every unit that is not inactive; an unknown unit is not found."""
    machine.unit("old.service", state="inactive")
    assert show(machine.site, "www.service", "Id")["Id"] == "web.service"
    assert [one["Id"] for one in show_all(machine.site, "Id", "*.service")] == ["db.service", "web.service"]
    assert show(machine.site, "no.service", "LoadState,MemoryMax") == {
        "LoadState": "not-found",
        "MemoryMax": "infinity",
    }


def test_a_restart_gives_a_new_invocation_until_the_start_limit(machine):
    """Each restart is a new invocation and process; the sixth ends in a failed unit until reset-failed."""
    before = machine.known("db.service")
    for _ in range(5):
        tell(machine.site, "systemctl", "restart", "db.service")
    after = machine.known("db.service")
    assert (after["active"], after["invocation"] != before["invocation"]) == ("active", True)
    assert after["pids"] != before["pids"]
    with pytest.raises(StepError, match="attempted too often"):
        tell(machine.site, "systemctl", "restart", "db.service")
    assert machine.known("db.service")["result"] == "start-limit-hit"
    tell(machine.site, "systemctl", "reset-failed", "db.service")
    tell(machine.site, "systemctl", "restart", "db.service")
    assert machine.known("db.service")["active"] == "active"


def test_a_restart_takes_along_what_is_bound_to_it(machine):
    """An active unit that is part of the restarted one is restarted; one that only wants it is not."""
    machine.unit("part.service", "[Unit]\nPartOf=db.service\n")
    machine.unit("fan.service", "[Unit]\nWants=db.service\n")
    part, fan = machine.known("part.service"), machine.known("fan.service")
    tell(machine.site, "systemctl", "restart", "db.service")
    assert machine.known("part.service")["invocation"] != part["invocation"]
    assert machine.known("fan.service")["invocation"] == fan["invocation"]
    assert show(machine.site, "db.service", "ConsistsOf,WantedBy") == {
        "ConsistsOf": "part.service",
        "WantedBy": "fan.service",
    }


def test_a_call_can_be_made_to_fail(machine):
    """The next call of a verb fails with given words, once, and every call is kept."""
    machine.fails("set-property", "Access denied")
    with pytest.raises(StepError, match="Access denied"):
        tell(machine.site, "systemctl", "set-property", "web.service", "MemoryMax=1G")
    tell(machine.site, "systemctl", "set-property", "web.service", "MemoryMax=1G")
    assert len(machine.calls("set-property")) == 2


def test_limits_of_cgroup_1_are_those_of_its_own_files(tmp_path):
    """On the old hierarchy MemoryMax= is memory.limit_in_bytes, and a reload sets it."""
    machine = Systemd(tmp_path, cgroup=1, systemd=252)
    machine.unit("web.service")
    machine.file("/etc/systemd/system/web.service.d/x.conf", "[Service]\nMemoryMax=100M\n")
    machine.reload()
    assert machine.cgroup_file("web.service", "memory.limit_in_bytes") == str(100 * MIB)
