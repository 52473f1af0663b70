"""The closer look on real machines, as a login without privilege, against what the machine's own tools say."""

import json
import re
from typing import Any

import pytest

from oombot import helper_call, installation
from oombot.details import Details, Look, PendingChange
from tests.lab.machine import Machine

pytestmark = pytest.mark.full

MIB = 1 << 20
UNIT = """[Unit]
Description=Under the lens
[Service]
ExecStart=/bin/sh -c 'sleep 100001 & exec sleep 100002'
OOMScoreAdjust=150
Restart=on-failure
RestartSec=90
OOMPolicy=continue
[Install]
Alias=lens-alias.service
"""
PART = "[Unit]\nPartOf=lens.service\nAfter=lens.service\n[Service]\nExecStart=/usr/bin/sleep 100003\n"


async def look(machine: Machine, *parts: Any, user: str = "plain", **names: str) -> Details:
    """The answer of the sent look, as a login that has no groups."""
    command = helper_call.look("sent", installation.look_source(), Look(parts=parts, **names))
    said = await machine.run(*command.argv, stdin=command.stdin.encode(), user=user)
    details = helper_call.looked(said.encode())
    assert details is not None
    return details


async def shown(machine: Machine, unit: str) -> dict[str, str]:
    """Every property as the machine's systemctl shows it."""
    text = await machine.run("systemctl", "show", "--", unit)
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


async def units(machine: Machine) -> None:
    """Start lens.service, under an alias and with a limit, and a unit that is a part of it."""
    await machine.write("/etc/systemd/system/lens.service", UNIT)
    await machine.write("/etc/systemd/system/lenspart.service", PART)
    await machine.sh(
        "systemctl daemon-reload && systemctl -q enable lens.service && systemctl start lens lenspart && "
        "systemctl set-property lens.service MemoryMax=200M && "
        "systemctl set-property --runtime lens.service MemoryMax=210M"
    )


async def test_a_unit_and_its_cgroup_are_told_as_the_machine_tells_them(any_machine: Machine) -> None:
    """State, settings, processes, files and numbers of a service under its alias; the kernel besides."""
    machine = any_machine
    await units(machine)
    found = await look(machine, "unit", "cgroup", "kernel", "pending", unit="lens-alias.service")
    assert found.problems == ()
    unit, cgroup, kernel = found.unit, found.cgroup, found.kernel
    assert unit is not None
    assert cgroup is not None
    assert kernel is not None
    said = await shown(machine, "lens.service")
    assert (unit.name, unit.invocation_id, unit.fragment_path) == (
        "lens.service",
        said["InvocationID"],
        "/etc/systemd/system/lens.service",
    )
    assert (unit.load_state, unit.active_state, unit.sub_state, unit.result) == (
        *("loaded", "active", "running"),
        "success",
    )
    assert (unit.oom_policy, unit.restart, unit.restart_s) == ("continue", "on-failure", 90.0)
    assert (unit.oom_score_adjust, str(unit.main_pid)) == (150, said["MainPID"])
    assert unit.dependants == ("lenspart.service",)
    assert unit.slice == "system.slice"

    listed = await machine.sh(
        "systemctl show -P MainPID lens; pgrep -xf 'sleep 100001'; pgrep -xf 'sleep 100002'"
    )
    pids = {int(word) for word in listed.split()}
    assert {member.pid for member in unit.members} == pids
    assert {(member.comm, member.oom_score_adj, member.threads) for member in unit.members} == {
        ("sleep", 150, 1)
    }
    texts = {one.path: one.text for one in unit.files if one.text is not None}
    control = "systemd/system.control/lens.service.d/50-MemoryMax.conf"
    assert set(texts) == {f"/etc/{control}", f"/run/{control}"}
    assert texts[f"/etc/{control}"] == await machine.run("cat", f"/etc/{control}")

    old = machine.kind == "cgroup1"
    root = "/sys/fs/cgroup/memory" if old else "/sys/fs/cgroup"
    limit = "memory.limit_in_bytes" if old else "memory.max"
    read = await machine.run("cat", f"{root}/system.slice/lens.service/{limit}")
    assert (cgroup.max_b, cgroup.version, cgroup.pids) == (int(read), 1 if old else 2, 2)
    assert cgroup.max_b == 210 * MIB
    assert cgroup.current_b is not None
    assert 0 < cgroup.current_b < 100 * MIB
    assert cgroup.working_b is not None
    assert (cgroup.can_reclaim, cgroup.events["oom_kill"]) == (not old, 0)

    version = (await machine.run("systemctl", "--version")).split()[1]
    assert (kernel.systemd_version, kernel.cgroup_version) == (int(version), 1 if old else 2)
    assert kernel.container == ""
    assert kernel.swappiness == int(await machine.run("cat", "/proc/sys/vm/swappiness"))
    assert "Mem:" in kernel.free_shown
    assert (kernel.dirty_b is not None, kernel.clean_cache_b is not None) == (True, True)
    pressure = await machine.sh("cat /proc/pressure/io || true")
    assert (kernel.io_full_avg10 is not None) == ("full" in pressure)


async def test_waiting_limits_are_found_before_they_kill(debian: Machine) -> None:
    """First in files, then held; what is calm is not made up; and what is said to kill kills."""
    await units(debian)
    calm = (await look(debian, "pending")).pending
    # the limit until the next boot is hidden by the file that stays, which the next reload would read
    assert calm == (
        PendingChange(
            unit="lens.service",
            setting="MemoryMax",
            wanted_b=200 * MIB,
            cgroup_b=210 * MIB,
            usage_b=calm[0].usage_b if calm else None,
            in_files=True,
        ),
    )
    await debian.sh("systemctl set-property lens.service MemoryMax=210M")
    await debian.sh(
        "systemd-run -q --unit=victim python3 -c 'x = bytearray(60 << 20); import time; time.sleep(100000)'; sleep 5"
    )
    assert (await look(debian, "pending")).pending == ()

    await debian.write(
        "/run/systemd/system/victim.service.d/20-low.conf", "[Service]\nMemoryMax=20M\nMemorySwapMax=0\n"
    )
    in_files = (await look(debian, "pending")).pending
    assert in_files is not None
    assert [(one.unit, one.setting, one.wanted_b, one.in_files, one.kills) for one in in_files] == [
        ("victim.service", "MemoryMax", 20 * MIB, True, True),
        ("victim.service", "MemorySwapMax", 0, True, False),
    ]
    await debian.sh("systemctl daemon-reload")
    held = (await look(debian, "pending")).pending
    assert held is not None
    assert [(one.setting, one.in_files, one.kills) for one in held] == [
        ("MemoryMax", False, True),
        ("MemorySwapMax", False, False),
    ]
    assert (await shown(debian, "victim.service"))["ActiveState"] == "active"
    await debian.sh(
        "systemctl restart lenspart; for i in $(seq 300); do systemctl is-active -q victim || exit 0; sleep 0.2; done"
    )
    after = await shown(debian, "victim.service")
    assert (after["ActiveState"], after["Result"]) == ("failed", "oom-kill")


async def test_files_of_units_are_read_as_systemd_reads_them(debian: Machine) -> None:
    """Drop-ins of many places, shares of RAM and fractions: each reads as the machine's systemd holds it afterwards."""
    await units(debian)
    placed = {
        "/usr/lib/systemd/system/service.d/90-all.conf": "MemoryHigh=33.3%",
        "/etc/systemd/system/lens.service.d/10-a.conf": "MemoryHigh=10M",
        "/run/systemd/system/lens.service.d/95-b.conf": "MemorySwapMax=1.5G",
        "/etc/systemd/system/lens-alias.service.d/40-c.conf": "MemoryMax=150M",
        "/usr/local/lib/systemd/system/lens.service.d/60-d.conf": "MemoryMax=\\\n 151M",
        "/etc/systemd/system/lens.service.d/60-d.conf": "# MemoryMax=1\nMemoryMax=152M",
    }
    for path, text in placed.items():
        await debian.write(path, f"[Service]\n{text}\n")
    before = (await look(debian, "pending")).pending
    assert before is not None
    read = {one.setting: one.wanted_b for one in before if one.unit == "lens.service" and one.in_files}
    await debian.sh("systemctl daemon-reload")
    said = await shown(debian, "lens.service")
    assert {name: str(value) for name, value in read.items()} == {name: said[name] for name in read}
    assert (set(read), read["MemoryMax"]) == ({"MemoryMax", "MemoryHigh", "MemorySwapMax"}, 152 * MIB)
    other = next(one for one in before if one.unit == "lenspart.service")
    assert (other.setting, str(other.wanted_b)) == ("MemoryHigh", said["MemoryHigh"])


async def test_swappiness_is_told_as_the_next_boot_sets_it(debian: Machine) -> None:
    """The last of the files that set it is the one that systemd-sysctl leaves standing."""
    await debian.write("/etc/sysctl.d/10-a.conf", "vm.swappiness=11\n")
    await debian.write("/usr/lib/sysctl.d/80-b.conf", "vm/swappiness = 22\n")
    await debian.write("/run/sysctl.d/80-b.conf", "-vm.swappiness=33\n")
    kernel = (await look(debian, "kernel")).kernel
    assert kernel is not None
    assert [(one.path, one.value) for one in kernel.swappiness_set_by] == [
        ("/etc/sysctl.d/10-a.conf", "11"),
        ("/run/sysctl.d/80-b.conf", "33"),
    ]
    await debian.run("systemctl", "restart", "systemd-sysctl")
    assert (await debian.run("cat", "/proc/sys/vm/swappiness")).strip() == "33"


async def test_few_programs_are_started(debian13: Machine) -> None:
    """Counted by the kernel's own count of processes, with what Python and the shell need: fewer than a dozen."""
    await units(debian13)
    command = helper_call.look(
        "sent",
        installation.look_source(),
        Look(parts=("unit", "pending", "cgroup", "kernel"), unit="lens.service"),
    )
    await debian13.write("/run/lab/look.py", command.stdin)
    traced = await debian13.sh(
        "cd /run/lab; for p in systemctl systemd-detect-virt free; do "
        "printf '#!/bin/sh\\necho x >>/run/lab/started\\nexec /usr/bin/%s \"$@\"\\n' $p >$p; chmod 755 $p; done; "
        "sed 's,PROGRAMS = ,PROGRAMS = \"/run/lab:\" + ,' -i look.py; python3 -I look.py; wc -l <started"
    )
    *_, answer, started = traced.strip().splitlines()
    assert json.loads(answer)["problems"] == []
    assert int(started) <= 7
    assert re.fullmatch(r"[0-9]+", started)


@pytest.mark.parametrize("user", ["plain", "root"])
async def test_logins_see_the_same(debian12: Machine, user: str) -> None:
    """What a remedy weighs does not hang on privilege: nothing that it reads is kept from anybody."""
    await units(debian12)
    found = await look(debian12, "unit", "cgroup", "kernel", "pending", user=user, unit="lens.service")
    assert found.problems == ()
    assert found.unit is not None
    assert (len(found.unit.members), found.unit.memory_max_b) == (2, 210 * MIB)
