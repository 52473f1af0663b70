"""The closer look: what it says of a unit, a cgroup and the kernel, on a machine of files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oombot import helper_call, installation
from oombot.adapters.local import LocalHosts
from oombot.data.oombot_eyes import span
from oombot.data.oombot_look import look_answer, looked
from oombot.data.oombot_site import Site
from oombot.details import Details, Look, Member, UnitFile
from tests.patients import unit_files
from tests.systemd import MIB, Systemd


@pytest.fixture
def machine(tmp_path):
    """web.service under an alias, with what depends on it and what conflicts with it."""
    found = Systemd(tmp_path)
    found.unit(
        "web.service",
        "[Service]\nMemoryHigh=600M\nRestart=always\nRestartSec=2\nOOMScoreAdjust=-100\n",
        current_b=300 * MIB,
        inactive_file_b=40 * MIB,
        peak_b=450 * MIB,
        swap_current_b=5 * MIB,
        adj=-100,
        pids=(200, 201),
        alias="www.service",
        properties={"NRestarts": "3"},
    )
    found.unit("part.service", "[Unit]\nPartOf=web.service\n")
    found.unit("bound.service", "[Unit]\nBindsTo=part.service\n")
    found.unit("idle.service", "[Unit]\nPartOf=web.service\n", state="inactive")
    found.unit("fan.service", "[Unit]\nWants=web.service\n")
    found.unit("foe.service", "[Unit]\nConflicts=web.service\n")
    return found


def look(machine, *parts, site=None, **names):
    """The details that the bot reads from the answer, and none of the problems is hidden."""
    said = looked({"parts": list(parts), **names}, site or machine.site)
    details = helper_call.looked(look_answer(said))
    assert details is not None
    return details


def test_a_unit_is_told_in_systemds_own_words(machine):
    """Through an alias: state, settings, numbers, processes."""
    unit = look(machine, "unit", unit="www.service").unit
    assert (unit.name, unit.load_state, unit.active_state, unit.sub_state) == (
        *("web.service", "loaded", "active"),
        "running",
    )
    assert (unit.memory_high_b, unit.memory_max_b, unit.memory_swap_max_b) == (600 * MIB, None, None)
    assert (unit.restart, unit.restart_s, unit.n_restarts, unit.oom_score_adjust) == ("always", 2.0, 3, -100)
    assert (unit.start_limit_burst, unit.start_limit_interval_s, unit.oom_policy) == (5, 10.0, "stop")
    assert (unit.slice, unit.control_group) == ("system.slice", "/system.slice/web.service")
    assert (unit.transient, unit.generated, unit.delegate, unit.need_daemon_reload) == (False,) * 4
    assert unit.fragment_path == "/etc/systemd/system/web.service"
    assert unit.members == (
        Member(pid=200, start_ticks=1200, comm="web", oom_score_adj=-100),
        Member(pid=201, start_ticks=1201, comm="web", oom_score_adj=-100),
    )
    assert unit.main_pid == 200


def test_only_active_units_are_said_to_depend_on_it(machine):
    """What stops along with it, however far; what only wants it; what its start would stop."""
    unit = look(machine, "unit", unit="web.service").unit
    assert unit.dependants == ("part.service", "bound.service")
    assert unit.requires_it == ("fan.service",)
    assert unit.conflicts == ("foe.service",)


def test_the_files_that_decide_are_told_with_their_text(machine):
    """Our drop-in and those of set-property, kept and runtime; None where one is not there."""
    assert look(machine, "unit", unit="web.service").unit.files == unit_files("web.service")
    machine.file("/etc/systemd/system/web.service.d/60-oombot.conf", "# ours\n[Service]\n")
    machine.file(
        "/run/systemd/system.control/web.service.d/50-MemoryMax.conf", b"[Service]\nMemoryMax=\xff\n"
    )
    unit = look(machine, "unit", unit="web.service").unit
    assert unit.need_daemon_reload
    assert [path for path in unit.folders if path.startswith("/run/systemd/system.control")] == [
        "/run/systemd/system.control",
        "/run/systemd/system.control/web.service.d",
    ]
    assert [one for one in unit.files if one.text is not None] == [
        UnitFile(path="/etc/systemd/system/web.service.d/60-oombot.conf", text="# ours\n[Service]\n"),
        UnitFile(
            path="/run/systemd/system.control/web.service.d/50-MemoryMax.conf",
            text="[Service]\nMemoryMax=\ufffd\n",
        ),
    ]


def test_a_drop_in_through_a_link_is_not_read(machine):
    """A link in the place of a folder of ours is a problem that is said, not followed."""
    (machine.root / "etc/systemd/system/web.service.d").symlink_to("/etc")
    details = look(machine, "unit", unit="web.service")
    assert details.unit is None
    assert "no plain directory" in details.problems[0]


def test_a_unit_that_is_not_there_is_said_to_be_not_found(machine):
    """systemd's own word; it has no processes and no limits."""
    unit = look(machine, "unit", unit="no.service").unit
    assert (unit.load_state, unit.active_state, unit.members) == ("not-found", "inactive", ())


def test_a_cgroup_is_told_by_its_unit_or_its_path(machine):
    """The kernel's numbers; limits that are max are none."""
    for names in ({"unit": "www.service"}, {"cgroup": "/system.slice/web.service"}):
        cgroup = look(machine, "cgroup", **names).cgroup
        assert (cgroup.path, cgroup.version, cgroup.pids) == ("/system.slice/web.service", 2, 2)
        assert (cgroup.current_b, cgroup.working_b, cgroup.peak_b) == (300 * MIB, 260 * MIB, 450 * MIB)
        assert (cgroup.high_b, cgroup.max_b, cgroup.swap_max_b) == (600 * MIB, None, None)
        assert (cgroup.swap_current_b, cgroup.events["oom_kill"]) == (5 * MIB, 0)
        assert (cgroup.oom_group, cgroup.can_reclaim) == (False, True)


def test_a_cgroup_of_the_old_hierarchy_is_told_by_its_own_files(tmp_path):
    """memory.limit_in_bytes and its siblings; what v1 has not is None."""
    machine = Systemd(tmp_path, cgroup=1, systemd=252)
    machine.unit("web.service", "[Service]\nMemoryMax=500M\n", current_b=300 * MIB, inactive_file_b=MIB)
    details = look(machine, "unit", "cgroup", "kernel", unit="web.service")
    cgroup = details.cgroup
    assert (cgroup.version, cgroup.max_b, cgroup.high_b) == (1, 500 * MIB, None)
    assert (cgroup.current_b, cgroup.working_b) == (300 * MIB, 299 * MIB)
    assert (cgroup.events, cgroup.oom_group, cgroup.can_reclaim) == ({"oom_kill": 0, "max": 0}, None, False)
    assert (details.kernel.cgroup_version, details.kernel.systemd_version) == (1, 252)
    assert len(details.unit.members) == 1


def test_a_unit_that_does_not_run_has_no_cgroup(machine):
    """That is said as a problem, not as a cgroup without limits."""
    machine.unit("old.service", state="inactive")
    details = look(machine, "cgroup", unit="old.service")
    assert details.cgroup is None
    assert details.problems == ("cgroup could not be read: old.service has no cgroup: it is not running",)
    assert "there is no memory cgroup" in look(machine, "cgroup", cgroup="/no").problems[0]


def test_the_kernel_is_told(machine):
    """Versions, swappiness, caches, pressure, our timers."""
    machine.file("/proc/sys/vm/swappiness", "60\n")
    machine.file(
        "/proc/meminfo",
        "MemTotal: 1000 kB\nCached: 500 kB\nBuffers: 20 kB\nSReclaimable: 30 kB\nShmem: 100 kB\nDirty: 7 kB\n",
    )
    machine.file(
        "/proc/pressure/io", "some avg10=1.50 avg60=0 avg300=0 total=0\nfull avg10=0.25 avg60=0 total=0\n"
    )
    machine.file("/run/systemd/transient/oombot-back-request_1.timer", "")
    machine.file("/run/systemd/transient/oombot-backup.timer", "")
    machine.program("free", "#!/bin/sh\necho 'Mem: 1.0Gi'\n")
    machine.file("/proc/vmstat", "nr_free_pages 5\ndrop_pagecache 3\ndrop_slab 1\n")
    kernel = look(machine, "kernel").kernel
    assert (kernel.cgroup_version, kernel.systemd_version, kernel.container) == (2, 257, "")
    assert (kernel.swappiness, kernel.dirty_b, kernel.clean_cache_b) == (60, 7 << 10, 443 << 10)
    assert (kernel.io_some_avg10, kernel.io_full_avg10) == (1.5, 0.25)
    assert (kernel.timers, kernel.free_shown) == (("oombot-back-request_1.timer",), "Mem: 1.0Gi\n")
    assert (kernel.drops_of_pagecache, kernel.drops_of_slab) == (3, 1)


def test_a_kernel_that_says_little_is_not_guessed_at(machine):
    """What is not there is None."""
    (machine.root / "proc/mounts").write_text("proc /proc proc rw 0 0\n")
    kernel = look(machine, "kernel").kernel
    assert (kernel.cgroup_version, kernel.swappiness, kernel.dirty_b, kernel.clean_cache_b) == (None,) * 4
    assert (kernel.io_some_avg10, kernel.swappiness_file, kernel.swappiness_set_by) == (None, None, ())


def test_swappiness_is_set_by_files_in_the_order_of_their_names(machine):
    """Of equal names the first folder's counts; the last line of a file; ours is told apart; a mask is none."""
    machine.file("/usr/lib/sysctl.d/50-default.conf", "vm.swappiness=1\n")
    machine.file("/etc/sysctl.d/50-default.conf", "# vm.swappiness=2\nvm/swappiness = 3\n-vm.swappiness=4\n")
    machine.file("/run/sysctl.d/10-early.conf", "vm.swap*=5\nkernel.panic=10\n")
    machine.file("/usr/lib/sysctl.d/70-masked.conf", "vm.swappiness=6\n")
    (machine.root / "etc/sysctl.d/70-masked.conf").symlink_to("/dev/null")
    machine.file("/etc/sysctl.d/60-oombot.conf", "vm.swappiness=7\n")
    machine.file("/etc/sysctl.conf", "vm.swappiness=8\n")
    (machine.root / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    kernel = look(machine, "kernel").kernel
    assert [(one.path, one.value) for one in kernel.swappiness_set_by] == [
        ("/run/sysctl.d/10-early.conf", "5"),
        ("/etc/sysctl.d/50-default.conf", "4"),
        ("/etc/sysctl.d/99-sysctl.conf", "8"),
    ]
    assert kernel.swappiness_file == "vm.swappiness=7\n"


def test_sysctl_conf_counts_without_systemd(machine):
    """Where another program is PID 1, /etc/sysctl.conf is read at last; no version of systemd is claimed."""
    (machine.root / "run/systemd/system").rmdir()
    machine.file("/etc/sysctl.conf", "vm.swappiness=8\n")
    kernel = look(machine, "kernel").kernel
    assert [one.path for one in kernel.swappiness_set_by] == ["/etc/sysctl.conf"]
    assert kernel.systemd_version is None


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("/run/systemd/container", "lxc\n", "lxc"),
        ("/run/.containerenv", 'engine="podman-5.4"\n', "podman"),
        ("/.dockerenv", "", "docker"),
        ("/proc/vz/version", "", "openvz"),
    ],
)
def test_a_container_is_known_by_the_files_in_it(machine, path, text, kind):
    """systemd's own note, podman's, Docker's, OpenVZ's."""
    machine.file(path, text)
    assert look(machine, "kernel").kernel.container == kind


def test_a_name_that_is_no_utf_8_spoils_no_answer(machine):
    """File systems take any bytes; the rest of the look is told all the same."""
    folder = machine.root / "etc/sysctl.d"
    folder.mkdir()
    Path(os.fsdecode(bytes(folder) + b"/\xff.conf")).write_text("vm.swappiness=9\n")
    kernel = look(machine, "kernel").kernel
    assert [(one.path, one.value) for one in kernel.swappiness_set_by] == [("/etc/sysctl.d/?.conf", "9")]


def test_a_container_is_known_by_systemd_detect_virt(tmp_path):
    """Where no file tells, systemd's program does."""
    assert look(Systemd(tmp_path, container="systemd-nspawn"), "kernel").kernel.container == "systemd-nspawn"


def test_without_systemd_the_parts_that_need_it_say_so(machine):
    """unit is a problem; the kernel and a cgroup by its path are told all the same."""
    site = machine.site._replace(programs="/nonexistent")
    details = look(
        machine, "unit", "cgroup", "kernel", site=site, unit="web.service", cgroup="/system.slice/web.service"
    )
    assert details.unit is None
    assert details.problems == (
        "unit could not be read: systemctl is not installed on this host",
        "kernel could not be read: systemctl is not installed on this host",
    )
    assert details.cgroup.pids == 2


def test_a_look_starts_few_programs(machine):
    """A starving host is not made to start many: six of systemd's, and free, for all that a memory limit asks."""
    look(machine, "unit", "pending", "cgroup", "kernel", unit="web.service")
    assert len(machine.calls()) <= 6


def test_hostile_names_come_through_as_text(machine):
    """A process may call itself anything, bytes that are no UTF-8 included; a huge file is not swallowed."""
    machine.file("/proc/200/stat", b"200 (\xff) S 1 (x) S " + b"1 " * 16 + b"3 0 77 0\n")
    [first, _] = look(machine, "unit", unit="web.service").unit.members
    assert (first.comm, first.threads, first.start_ticks) == ("\ufffd) S 1 (x", 3, 77)
    machine.file("/etc/sysctl.d/60-oombot.conf", b"x" * 300_000)
    details = look(machine, "kernel")
    assert details.kernel is None
    assert details.problems == (
        "kernel could not be read: /etc/sysctl.d/60-oombot.conf is longer than 262144 bytes",
    )


@pytest.mark.parametrize(
    "question",
    [
        {"parts": ["unit"], "unit": "-H x.service"},
        {"parts": ["unit"], "unit": "--help.service"},
        {"parts": ["unit"], "unit": "*.service"},
        {"parts": ["unit"], "unit": "a.service\n"},
        {"parts": ["cgroup"], "cgroup": "/../../etc"},
        {"parts": ["cgroup"], "cgroup": "relative"},
        {"parts": ["shell"]},
        {"parts": ["unit"], "command": "id"},
        ["unit"],
    ],
)
def test_a_question_that_is_not_of_the_set_is_refused(machine, question):
    """No option, pattern, path or part of somebody's own reaches a program."""
    module: dict = {}
    exec(installation.look_source(), module)
    with pytest.raises(module["RefusedError"]):
        module["looked"](question, Site())
    assert machine.calls() == []


def test_spans_of_systemd_are_read():
    """As `systemctl show` prints them."""
    assert span("100ms") == pytest.approx(0.1)
    assert span("1min 30s") == 90.0
    assert span("0") == 0.0
    assert (span("infinity"), span(""), span(None), span("2 fortnights")) == (None,) * 4


@given(st.text())
@example(".")
def test_no_span_is_an_error(text):
    """Whatever stands there."""
    assert span(text) is None or span(text) >= 0


def test_the_sent_look_answers_on_this_very_machine():
    """The program that is sent runs alone under Python without modules of ours, whatever this machine is."""
    wanted = Look(parts=("kernel",))
    command = helper_call.look("sent", installation.look_source(), wanted)
    done = subprocess.run(
        [sys.executable, *command.argv[1:]], input=command.stdin.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    details = helper_call.looked(done.stdout)
    assert isinstance(details, Details)
    assert details.kernel is not None
    assert details.kernel.swappiness == int(Path("/proc/sys/vm/swappiness").read_text())


async def test_a_look_goes_through_the_adapter_of_this_machine():
    """As the bot asks it; what this machine can not say is a problem, and never an exception."""
    command = helper_call.look(
        "sent", installation.look_source(), Look(parts=("kernel", "cgroup", "pending"), cgroup="/no/such")
    )
    async with LocalHosts("here") as hosts:
        result = await hosts.run("here", command, timeout_s=60)
    details = helper_call.looked(result.stdout)
    assert details is not None
    assert details.cgroup is None
    assert [problem for problem in details.problems if problem.startswith("cgroup could not be read: ")]


def test_the_installed_helper_answers_a_look_like_the_sent_one(tmp_path):
    """One question, both ways."""
    program = tmp_path / "oombot-read"
    program.write_text(installation.read_program())
    command = helper_call.look("installed", "", Look(parts=("kernel", "cgroup"), cgroup="/no/such"))
    done = subprocess.run(
        [sys.executable, "-I", str(program)], input=command.stdin.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    details = helper_call.looked(done.stdout)
    assert details is not None
    assert any(problem.startswith("cgroup could not be read: ") for problem in details.problems)
