"""oom_score_adj and oom_score_adjust_unit on real machines: real systemds, real reboots, a real kill of the host."""

import asyncio
import contextlib
import time
from typing import Any

import pytest

from tests.lab.machine import Killed, Machine
from tests.lab.product import Product
from tests.lab.remedy import RefusedError, answers, as_it_is, differences, surgery_on
from tests.lab.shell import ShellError

# a shell with a child: two processes of one service
SERVICE = "[Service]\nExecStart=/bin/sh -c 'sleep 100000 & wait'\n[Install]\nWantedBy=multi-user.target\n"
# holds so much and stays; eats without end, itself spared, until the kernel has killed somebody
HOLDER = "held = bytearray(b'x') * ({mib} << 20); open('/run/held-{mib}', 'w').close(); import time; time.sleep(1e6)"
EATER = """
def kills():
    return [row for row in open("/proc/vmstat") if row.startswith("oom_kill ")]
held, before = [], kills()
while kills() == before:
    held.append(bytearray(b"x") * (1 << 20))
"""


async def serve(machine: Machine, name: str) -> None:
    """Install a service of two processes, and start it now and at every boot."""
    await machine.write(f"/etc/systemd/system/{name}.service", SERVICE)
    await machine.sh(f"systemctl daemon-reload && systemctl enable -q --now {name}")
    await members(machine, name)


async def members(machine: Machine, name: str) -> list[int]:
    """The processes of a service, once there are two."""
    file = f"/sys/fs/cgroup/system.slice/{name}.service/cgroup.procs"
    said = await machine.sh(f"until [ $(wc -l <{file}) = 2 ]; do sleep 0.2; done; cat {file}", timeout_s=300)
    return [int(pid) for pid in said.split()]


async def adjs(machine: Machine, name: str) -> set[int]:
    """The scores of its processes, as their kernel shows them."""
    files = " ".join(f"/proc/{pid}/oom_score_adj" for pid in await members(machine, name))
    return {int(line) for line in (await machine.sh(f"cat {files}")).split()}


async def shown(machine: Machine, name: str, what: str = "OOMScoreAdjust") -> str:
    """A property of a service."""
    return (await machine.sh(f"systemctl show -P {what} {name}")).strip()


async def hold(machine: Machine, name: str, mib: int) -> int:
    """A service of crowd.slice that holds so much memory; its pid."""
    await machine.write(f"/run/{name}.py", HOLDER.format(mib=mib))
    await machine.sh(f"systemd-run -q --unit={name} --slice=crowd.slice python3 -S -E /run/{name}.py")
    await machine.sh(f"until [ -e /run/held-{mib} ]; do sleep 0.2; done", timeout_s=300)
    return int(await shown(machine, name, "MainPID"))


async def test_the_next_real_victim_is_the_predicted_one(debian: Machine, product: Product) -> None:
    """Live, there and back; then the kernel takes the one that the plan has named before any other.

    The memory that runs out is a slice's: a whole machine of the lab would first spend minutes on its page cache.
    """
    await debian.sh(
        "systemctl start crowd.slice && systemctl set-property --runtime crowd.slice MemoryMax=240M"
    )
    large, small = await hold(debian, "large", 100), await hold(debian, "small", 50)
    surgery = await surgery_on(product, debian)
    before = await as_it_is(debian)
    start = (await debian.sh(f"cut -d' ' -f22 /proc/{small}/stat")).strip()
    asked: dict[str, Any] = {"pid": small, "process": f"{small}:{start}", "value": 700}
    done = await surgery.operate("oom_score_adj", **asked)
    assert (done.state, done.problems) == ("verified", [])
    assert (await debian.sh(f"cat /proc/{small}/oom_score_adj")).strip() == "700"
    undone = await surgery.undo(done)
    assert (undone.state, differences(before, await as_it_is(debian))) == ("verified", [])

    done = await surgery.operate("oom_score_adj", **asked)
    foreseen = f"When /crowd.slice hits its limit, next victim: python3 ({large}) → python3 ({small})"
    assert foreseen in done.plan["effect"]
    await debian.write("/run/eater.py", EATER)
    await debian.sh(
        "systemd-run -q --unit=eater --slice=crowd.slice -p OOMScoreAdjust=-999 python3 -S -E /run/eater.py"
    )
    first = await first_killed(debian)
    assert (first.pid, first.memcg) == (small, True)
    _, said, fault = await product.oombot("undo", done.id, "--yes")
    assert f"Process {small} is not running" in said + fault


async def first_killed(machine: Machine, *, within_s: float = 400) -> Killed:
    """Wait for a kill in the journal; a machine short of memory may lose our connection."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(ShellError):
            if found := await machine.killed():
                return found[0]
        await asyncio.sleep(0.5)
    raise AssertionError(f"{machine.kind} killed nobody within {within_s:.0f} s")


@pytest.mark.full
async def test_what_is_for_good_survives_a_reboot_and_what_is_live_does_not(
    debian: Machine, product: Product
) -> None:
    """Verified in systemd and every process; a reboot keeps one and not the other; undone, all is as before."""
    for name in ("web", "db"):
        await serve(debian, name)
    surgery = await surgery_on(product, debian)
    before = await as_it_is(debian)
    good = await surgery.operate("oom_score_adjust_unit", unit="web.service", value=400)
    live = await surgery.operate("oom_score_adj", unit="db.service", process="db.service", value=300)
    assert (good.state, good.problems, live.state, live.problems) == ("verified", [], "verified", [])
    assert (await adjs(debian, "web"), await shown(debian, "web")) == ({400}, "400")
    assert (await adjs(debian, "db"), await shown(debian, "db")) == ({300}, "0")

    await debian.reboot()
    await debian.up()
    assert (await adjs(debian, "web"), await shown(debian, "web")) == ({400}, "400")
    assert await adjs(debian, "db") == {0}
    _, said, fault = await product.oombot("undo", live.id, "--yes")
    assert "Nothing to undo" in said + fault
    undone = await surgery.undo(good)
    assert (undone.state, undone.problems) == ("verified", [])
    assert (await adjs(debian, "web"), await shown(debian, "web")) == ({0}, "0")
    assert differences(before, await as_it_is(debian)) == []


@pytest.mark.full
async def test_with_a_restart_and_beside_others(debian: Machine, product: Product) -> None:
    """By a restart instead of a live write; a second change undone restores the first; others' drop-ins stay."""
    await serve(debian, "web")
    await debian.write("/etc/systemd/system/web.service.d/50-mine.conf", "[Service]\nOOMScoreAdjust=-7\n")
    await debian.sh("systemctl daemon-reload && systemctl restart web")
    surgery = await surgery_on(product, debian)
    before, run = await as_it_is(debian), await shown(debian, "web", "InvocationID")
    first = await surgery.operate("oom_score_adjust_unit", unit="web.service", value=400, running="restart")
    assert (first.state, first.problems) == ("verified", [])
    assert await shown(debian, "web", "InvocationID") != run
    assert (await adjs(debian, "web"), await shown(debian, "web")) == ({400}, "400")

    between = await as_it_is(debian)
    second = await surgery.operate("oom_score_adjust_unit", unit="web.service", value=100)
    assert (second.state, await adjs(debian, "web")) == ("verified", {100})
    assert (await surgery.undo(second)).state == "verified"
    assert differences(between, await as_it_is(debian)) == []
    assert (await surgery.undo(first)).state == "verified"
    assert (await adjs(debian, "web"), await shown(debian, "web")) == ({-7}, "-7")
    assert differences(before, await as_it_is(debian)) == []

    await debian.write("/etc/systemd/system/web.service.d/70-mine.conf", "[Service]\nOOMScoreAdjust=9\n")
    await debian.sh("systemctl daemon-reload")
    with pytest.raises(RefusedError, match=r"70-mine\.conf is read after it"):
        await surgery.propose("oom_score_adjust_unit", unit="web.service", value=400)


UNITS = (
    "-H x.service",
    "../../web.service",
    "web.service\n",
    "*.service",
    "$(reboot).service",
    "--",
    "a b.service",
)
WRITE = ("write-adjust", "--unit", "web.service", "--was", "ABSENT", "--had", "0")
ATTACKS = (
    *(("write-adjust", "--unit", unit, *WRITE[3:], "--value", "5", "--tag", "t") for unit in UNITS),
    *(("remove-adjust", "--unit", unit, "--was", "5") for unit in UNITS),
    (*WRITE, "--value", "5\n", "--tag", "t"),
    (*WRITE, "--value", "1001", "--tag", "t"),
    (*WRITE, "--value", "5", "--tag", "t\n[Service]"),
    (*WRITE, "--value", "5"),
    ("set-adj", "--pid", "1", "--start", "1", "--was", "0", "--value", "5"),
    ("set-adj", "--pid", "-1", "--start", "1", "--was", "0", "--value", "5"),
)


@pytest.mark.full
async def test_words_and_links_of_an_attacker(debian13: Machine) -> None:
    """The real helper refuses them and follows no link: nothing of the machine changes."""
    await serve(debian13, "web")
    link = "cd /etc/systemd/system; cp web.service linked.service; ln -s /root linked.service.d"
    await debian13.sh(f"{link}; systemctl daemon-reload")
    before = await as_it_is(debian13)
    linked = ("write-adjust", "--unit", "linked.service", *WRITE[3:], "--value", "5", "--tag", "t")
    *refused, left = await answers(debian13, *ATTACKS, linked)
    assert [said for said in refused if said["status"] != "refused"] == []
    assert (left["status"], left["steps"][0].get("untouched")) == ("failed", True), left
    assert differences(before, await as_it_is(debian13)) == []
    assert await debian13.sh("ls -A /root | grep oombot.conf", check=False) == ""
