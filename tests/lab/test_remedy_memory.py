"""memory_max on real machines: real limits, and a real kill of the unit that runs over, and of nobody else."""

import asyncio

import pytest

from tests.lab.machine import Machine
from tests.lab.product import Product
from tests.lab.remedy import RefusedError, as_it_is, differences, surgery_on

# holds as many MiB as a file of its name says
EATER = """import sys, time
held = bytearray()
while True:
    try:
        wanted = int(open('/run/eat-' + sys.argv[1]).read()) << 20
    except (OSError, ValueError):
        wanted = 0
    held.extend(b'x' * max(0, wanted - len(held)))
    time.sleep(0.2)
"""
UNIT = (
    "[Service]\nExecStart=/usr/bin/python3 /usr/local/bin/eater {}\n[Install]\nWantedBy=multi-user.target\n"
)
OWN = "[Service]\n# ours: do not touch\nMemoryMax=200M"


async def eaters(machine: Machine, *names: str) -> None:
    """Real units, small until told otherwise, that come back after a reboot."""
    await machine.write("/usr/local/bin/eater", EATER)
    for name in names:
        await machine.write(f"/etc/systemd/system/{name}.service", UNIT.format(name))
    units = " ".join(f"{name}.service" for name in names)
    await machine.sh(f"systemctl daemon-reload; systemctl enable -q --now {units}", timeout_s=300)


async def held_to(machine: Machine, name: str, file: str = "memory.max") -> str:
    """A limit, as the kernel has it."""
    return (await machine.sh(f"cat /sys/fs/cgroup/system.slice/{name}.service/{file}")).strip()


async def holds(machine: Machine, name: str, mib: int) -> None:
    """Wait until a unit holds so much."""
    file = f"/sys/fs/cgroup/system.slice/{name}.service/memory.current"
    await machine.sh(f"until [ $(cat {file}) -ge {mib << 20} ]; do sleep 0.5; done", timeout_s=300)


@pytest.mark.full
async def test_limits_are_set_and_undone_byte_for_byte(debian: Machine, product: Product) -> None:
    """Until the next boot, and for good over an administrator's own file: afterwards the machine is as before."""
    await eaters(debian, "api", "db")
    own = "/etc/systemd/system.control/db.service.d/50-MemoryMax.conf"
    await debian.write(own, OWN, "600")
    stood = "/run/systemd/system.control/api.service.d"  # empty, and so it is to stay
    await debian.sh(f"mkdir -p {stood}; systemctl daemon-reload; systemctl restart db.service", timeout_s=300)
    surgery = await surgery_on(product, debian)
    before = await as_it_is(debian)
    for unit, lasting in (("api", "boot"), ("db", "good")):
        limits = {"memory_high": "96M", "memory_max": "128M", "memory_swap_max": "0"}
        done = await surgery.operate("memory_max", unit=f"{unit}.service", lasting=lasting, **limits)
        assert (done.state, done.problems) == ("verified", [])
        found = [await held_to(debian, unit, f"memory.{one}") for one in ("high", "max", "swap.max")]
        assert found == [str(96 << 20), str(128 << 20), "0"]
        undone = await surgery.undo(done)
        assert (undone.state, undone.problems) == ("verified", [])
        assert differences(before, await as_it_is(debian)) == []
    assert await debian.sh(f"cat {own}") == OWN


@pytest.mark.full
async def test_kept_limits_survive_a_reboot_and_others_do_not(debian: Machine, product: Product) -> None:
    """A reboot takes what was set until then, and nothing else."""
    await eaters(debian, "api", "db")
    surgery = await surgery_on(product, debian)
    for unit, lasting in (("api", "boot"), ("db", "good")):
        done = await surgery.operate("memory_max", unit=f"{unit}.service", lasting=lasting, memory_max="128M")
        assert (done.state, done.problems) == ("verified", [])
    await debian.reboot()
    await debian.up()
    assert (await held_to(debian, "api"), await held_to(debian, "db")) == ("max", str(128 << 20))


async def test_unit_that_runs_over_is_killed_alone(debian: Machine, product: Product) -> None:
    """Below the floor no cap is set; above it the unit that grows over it dies, and its neighbours live."""
    await eaters(debian, "api", "db")
    surgery = await surgery_on(product, debian)
    await debian.sh("echo 60 >/run/eat-api; echo 60 >/run/eat-db")
    for unit in ("api", "db"):
        await holds(debian, unit, 60)
    with pytest.raises(RefusedError, match=r"at least the floor, 1\.25"):
        await surgery.propose("memory_max", unit="api.service", memory_max="64M")
    assert await held_to(debian, "api") == "max"
    done = await surgery.operate("memory_max", unit="api.service", memory_max="112M", memory_swap_max="0")
    assert (done.state, done.problems) == ("verified", [])
    pids = (await debian.sh("systemctl show -P MainPID api.service db.service")).split()
    await debian.sh("echo 200 >/run/eat-api; echo 90 >/run/eat-db")
    for _ in range(180):
        if await debian.killed():
            break
        await asyncio.sleep(1)
    [killed] = await debian.killed()
    assert (str(killed.pid), killed.memcg) == (pids[0], True)
    await debian.sh(
        "until [ $(systemctl show -P ActiveState api.service) = failed ]; do sleep 0.5; done", timeout_s=300
    )
    await holds(debian, "db", 90)
    said = await debian.sh("systemctl show -P MainPID db.service; systemctl show -P Result api.service")
    assert said.split() == [pids[1], "oom-kill"]


@pytest.mark.full
async def test_cgroup_1_takes_memory_max_only(cgroup1: Machine, product: Product) -> None:
    """MemoryHigh is refused with the reason; MemoryMax is set, proved and undone."""
    await eaters(cgroup1, "api")
    surgery = await surgery_on(product, cgroup1)
    with pytest.raises(RefusedError, match="cgroup v1, which ignores MemoryHigh"):
        await surgery.propose("memory_max", unit="api.service", memory_high="128M")
    before = await as_it_is(cgroup1)
    done = await surgery.operate("memory_max", unit="api.service", memory_max="128M")
    assert (done.state, done.problems) == ("verified", [])
    file = "/sys/fs/cgroup/memory/system.slice/api.service/memory.limit_in_bytes"
    assert (await cgroup1.sh(f"cat {file}")).strip() == str(128 << 20)
    undone = await surgery.undo(done)
    assert (undone.state, undone.problems) == ("verified", [])
    assert differences(before, await as_it_is(cgroup1)) == []
