"""swap_file and swappiness on real machines: real disks, real kills, real reboots."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from oombot import facts, helper_call, installation
from oombot.engine import plans
from oombot.errors import RefusedError
from oombot.model import HostSnapshot
from oombot.proposals import Plan
from oombot.remediations.shape import Remediation
from oombot.remediations.swap_file import REMEDIATION as SWAP_FILE
from oombot.remediations.swap_file import Params as Swap
from oombot.rights import Policy
from tests.lab.machine import Machine
from tests.lab.product import Product
from tests.lab.remedy import as_it_is, differences, surgery_on

LAB = Policy(swap_reserve_mib=0)  # its disk is small
# what "as before" means for these remedies; the records of the helper stay on purpose
STATE = r"""
find /etc -xdev -type f -exec sha256sum {} + | sort -k 2
find /etc / /run/systemd/system -xdev -maxdepth 1 -printf '%p %y %m %U %G\n' | sort
find /etc/sysctl.d -printf '%p %y %m %U %G\n' | sort
cat /proc/swaps /proc/sys/vm/swappiness
"""
# eats so much, says so, and stays
EATER = "held = bytearray(b'x') * ({mib} << 20); open('/run/held', 'w').close(); import time; time.sleep(1e6)"


class Bench:
    """Takes a remedy from a reading to the proof, as the engine does, with what it sends to a host without helpers."""

    def __init__(self, machine: Machine) -> None:
        """Take the machine; each plan gets a request id of its own."""
        self.machine, self._requests = machine, 0

    async def seen(self, remedy: Remediation, params: Any) -> HostSnapshot:
        """A reading with the closer look."""
        read = facts.read(0)
        raw = await self.machine.run(*read.argv, stdin=read.stdin.encode(), timeout_s=180)
        snapshot = facts.parse(raw.encode(), host="lab", taken_s=0.0)
        look = helper_call.look("sent", installation.look_source(), remedy.look(params, snapshot))
        said = await self.machine.run(*look.argv, stdin=look.stdin.encode(), timeout_s=180)
        details = helper_call.looked(said.encode())
        assert details is not None, said
        return replace(snapshot, details=details)

    async def plan(self, remedy: Remediation, params: Any, policy: Policy = LAB) -> tuple[Plan, str]:
        """A plan and the id of its request."""
        self._requests += 1
        request = f"lab-request-{self._requests}"
        return plans.make(remedy, params, await self.seen(remedy, params), policy, tag=request), request

    async def helper(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the act helper as root."""
        command = helper_call.act("sent", installation.act_source(), request)
        said = await self.machine.run(*command.argv, stdin=command.stdin.encode(), timeout_s=300)
        answer: dict[str, Any] = json.loads(said)
        return answer

    async def run(self, plan: Plan, request: str) -> dict[str, Any]:
        """Run the steps of a plan."""
        steps = plans.wire(plan.steps)
        return await self.helper({"op": "run", "id": request, "steps": steps, "approver": "U0LAB"})

    async def applied(self, remedy: Remediation, params: Any) -> Plan:
        """Plan, run and prove."""
        before = await self.seen(remedy, params)
        plan, request = await self.plan(remedy, params)
        said = await self.run(plan, request)
        assert said["status"] == "done", said
        after = await self.seen(remedy, params)
        assert plans.problems_after(remedy, plan, plans.witness(remedy, plan, before), after) == []
        return plan

    async def undone(self, remedy: Remediation, plan: Plan) -> None:
        """Undo and prove; what stood there before stands there again."""
        params = remedy.params(**plan.params)
        self._requests += 1
        request = f"lab-request-{self._requests}"
        back = plans.undo(remedy, plan, await self.seen(remedy, params), LAB, tag=request)
        said = await self.run(back, request)
        assert said["status"] == "done", said
        reads = plans.state(remedy, back, await self.seen(remedy, remedy.params(**back.params)))
        assert reads == back.after

    async def state(self) -> str:
        """All that these remedies could change."""
        return await self.machine.sh(STATE)

    async def swaps(self) -> str:
        """What is on."""
        return await self.machine.sh("cat /proc/swaps")


@pytest.mark.full
async def test_what_is_kept_survives_a_reboot_and_the_rest_does_not(
    debian: Machine, product: Product
) -> None:
    """Two files and swappiness, kept and not; after a reboot each is as it was said; undone all is as before."""
    surgery = await surgery_on(product, debian)
    before = await as_it_is(debian)
    kept = await surgery.operate("swap_file", action="add", mib=96, lasts="good")
    brief = await surgery.operate("swap_file", action="add", mib=64, lasts="boot")
    paths = [done.words[0][2] for done in (kept, brief)]
    assert (await debian.sh(f"stat -c '%a %U %s' {paths[0]}")).split() == ["600", "root", str(96 << 20)]
    assert "0 parse errors, 0 errors" in await debian.sh("findmnt --verify 2>&1", check=False)
    good = await surgery.operate("swappiness", value=15, lasts="keep")
    boot = await surgery.operate("swappiness", value=5, lasts="boot")
    assert [done.state for done in (kept, brief, good, boot)] == ["verified"] * 4
    await debian.reboot()
    await debian.up()
    swaps = await debian.sh("cat /proc/swaps")
    assert (paths[0] in swaps, paths[1] in swaps) == (True, False)
    assert (await debian.sh("cat /proc/sys/vm/swappiness")).strip() == "15"
    for done in (good, brief, kept):
        assert (await surgery.undo(done)).state == "verified"
    assert differences(before, await as_it_is(debian)) == []


@pytest.mark.full
async def test_what_was_killed_before_lives_with_a_swap_file(debian: Machine) -> None:
    """The same workload: killed by the kernel without it, alive with it; and no way back while it is needed."""
    bench = Bench(debian)
    free = int(await debian.sh("awk '/^MemAvailable/{print int($2 / 1024)}' /proc/meminfo"))
    await _eat(debian, free + 40)
    await debian.sh(
        "until [ $(systemctl show -P ActiveState eater) = failed ]; do sleep 0.5; done", timeout_s=300
    )
    assert [kill.memcg for kill in await debian.killed()] == [False]
    await debian.sh("systemctl reset-failed eater")

    plan = await bench.applied(SWAP_FILE, Swap(mib=512, leave_mib=0))
    await _eat(debian, free + 40)
    await debian.sh("until [ -e /run/held ]; do sleep 0.5; done", timeout_s=400)
    await asyncio.sleep(5)
    assert (await debian.sh("systemctl show -P ActiveState eater")).strip() == "active"
    assert len(await debian.killed()) == 1

    with pytest.raises(RefusedError, match="MiB of memory available"):
        await bench.undone(SWAP_FILE, plan)
    path = plan.steps[0].do.argv[2]
    off = [{"do": ["swap-off", "--path", path]}]
    said = await bench.helper({"op": "run", "id": "lab-by-force", "steps": off})
    assert (said["status"], said["steps"][0].get("untouched")) == ("failed", True)
    assert "swapping off could kill" in said["steps"][0]["stderr"]
    assert path in await bench.swaps()
    await debian.sh("systemctl stop eater")
    await bench.undone(SWAP_FILE, plan)
    assert path not in await bench.swaps()
    assert len(await debian.killed()) == 1


async def _eat(machine: Machine, mib: int) -> None:
    """Let a unit hold so much memory; the kernel takes it first."""
    await machine.write("/run/eater.py", EATER.format(mib=mib))
    await machine.sh("systemd-run -q --unit=eater -p OOMScoreAdjust=900 python3 /run/eater.py")


@pytest.mark.full
async def test_a_cgroup_that_could_not_take_it_back(debian13: Machine) -> None:
    """A unit above its own limit without swap: undo is refused for its sake, and it lives."""
    bench = Bench(debian13)
    plan = await bench.applied(SWAP_FILE, Swap(mib=256, leave_mib=0))
    await debian13.write("/run/eater.py", EATER.format(mib=90))
    await debian13.sh("systemd-run -q --unit=eater -p MemoryMax=64M python3 /run/eater.py")
    await debian13.sh("until [ -e /run/held ]; do sleep 0.5; done", timeout_s=300)
    with pytest.raises(RefusedError, match=r"eater\.service would get up to"):
        await bench.undone(SWAP_FILE, plan)
    path = plan.steps[0].do.argv[2]
    said = await bench.helper(
        {"op": "run", "id": "lab-by-force", "steps": [{"do": ["swap-off", "--path", path]}]}
    )
    assert "eater.service would get up to" in said["steps"][0]["stderr"]
    assert (await debian13.sh("systemctl show -P ActiveState eater")).strip() == "active"
    assert await debian13.killed() == []


@pytest.mark.full
async def test_on_disks_of_every_kind(debian: Machine) -> None:
    """Made, on, off and gone again on each file system that can hold one."""
    bench = Bench(debian)
    for kind in ("ext4", "xfs", "btrfs"):
        force = "-qF" if kind == "ext4" else "-qf"
        disk = f"truncate -s 600M /disk && mkfs.{kind} {force} /disk && mkdir -p /data && mount -o loop /disk /data"
        await debian.sh(disk, timeout_s=180)
        before = await debian.sh("ls -A /data; cat /proc/swaps")
        plan = await bench.applied(SWAP_FILE, Swap(mib=64, folder="/data", leave_mib=0))
        assert "/data/oombot-" in await bench.swaps()
        assert plan.target.startswith(f"a new file in /data ({kind} on /dev/loop")
        await bench.undone(SWAP_FILE, plan)
        assert await debian.sh("ls -A /data; cat /proc/swaps") == before
        await debian.sh("umount /data && rm /disk")


async def test_where_none_can_be(debian13: Machine) -> None:
    """tmpfs, overlay, a link, a read-only mount; a disk that fills after the plan; words of an attacker."""
    bench = Bench(debian13)
    await debian13.sh(MOUNTS)
    before = await bench.state()
    for folder, why in (
        ("/run/a", "on tmpfs"),
        ("/over", "on overlay"),
        ("/link", "a link stands"),
        ("/ro", "read-only"),
    ):
        with pytest.raises(RefusedError, match=why):
            await bench.plan(SWAP_FILE, Swap(mib=64, folder=folder, leave_mib=0))
    for number, path in enumerate(("/run/a", "/over", "/link", "/ro")):
        words = ["make-swap", "--path", f"{path}/oombot-x.swap", "--mib", "64", "--leave", "0"]
        said = await bench.helper({"op": "run", "id": f"lab-where-{number}", "steps": [{"do": words}]})
        assert (said["status"], said["steps"][0].get("untouched")) == ("failed", True), said
    for number, words in enumerate(ATTACKS):
        said = await bench.helper({"op": "run", "id": f"lab-attack-{number}", "steps": [{"do": list(words)}]})
        assert said["status"] == "refused", said
    plan, request = await bench.plan(SWAP_FILE, Swap(mib=64, keep=True, leave_mib=0))
    await debian13.sh("fallocate -l $(($(stat -f -c '%a * %S' /) - (300 << 20))) /var/filler")
    said = await bench.run(plan, request)
    assert (said["status"], said["steps"][0].get("untouched")) == ("failed", True)
    assert "would be left; nothing was changed" in said["steps"][0]["stderr"]
    await debian13.sh("rm /var/filler")
    assert await bench.state() == before


MOUNTS = """
mkdir -p /run/a /run/b /run/c /over /ro && ln -s / /link && mount -t tmpfs -o ro ro /ro
mount -t overlay over -o lowerdir=/run/a,upperdir=/run/b,workdir=/run/c /over
"""
ATTACKS = (
    ("make-swap", "--path", "/etc/fstab", "--mib", "64", "--leave", "0"),
    ("make-swap", "--path", "/data/../oombot-x.swap", "--mib", "64", "--leave", "0"),
    ("make-swap", "--path", "/$(reboot)/oombot-x.swap", "--mib", "64", "--leave", "0"),
    ("make-swap", "--path", "/oombot-x.swap\n/dev/vda", "--mib", "64", "--leave", "0"),
    ("make-swap", "--path", "/oombot-x.swap", "--mib", "0", "--leave", "0"),
    ("make-swap", "--path", "/oombot-x.swap", "--mib", "-64", "--leave", "0"),
    ("make-swap", "--path", "/oombot-x.swap", "--mib", "99999999999999999999", "--leave", "0"),
    ("swap-off", "--path", "-a"),
    ("swap-on", "--path", "/dev/vda"),
    ("remove-swap", "--path", "/etc/passwd", "--bytes", "0"),
    ("add-fstab", "--path", "/a b/oombot-x.swap"),
    ("remove-fstab", "--path", "/"),
    ("set-swappiness", "--was", "60", "--value", "-1"),
    ("keep-swappiness", "--value", "10", "--tag", "x\nkernel.panic = 1"),
    ("drop-swappiness", "--value", "10", "--tag", "../x"),
)


@pytest.mark.full
async def test_what_a_cut_run_leaves_is_seen_and_removed(debian13: Machine) -> None:
    """Killed while it writes: the record says that nobody knows, the left-over is seen, and a plan removes it."""
    bench = Bench(debian13)
    before = await bench.state()
    plan, request = await bench.plan(SWAP_FILE, Swap(mib=512, leave_mib=0))
    path = plan.steps[0].do.argv[2]
    running = asyncio.create_task(bench.run(plan, request))
    kill = f"until [ -s {path} ]; do sleep 0.05; done; systemctl kill -s KILL oombot-act-{request}.service"
    await debian13.sh(kill)
    said = await running
    assert said["status"] == "unreadable", said
    assert (await bench.helper({"op": "result", "id": request}))["status"] == "unreadable"
    await bench.undone(SWAP_FILE, plan)
    assert await bench.state() == before
