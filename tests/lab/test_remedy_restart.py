"""restart_service and drop_caches on real machines: real services that stand, die again, and a real kernel's caches."""

import pytest

from tests.lab.machine import Machine
from tests.lab.product import Product
from tests.lab.remedy import RefusedError, answers, as_it_is, differences, surgery_on

# stands as long as its file is there; else it dies after a moment
SERVICE = (
    "[Service]\nExecStart=/bin/sh -c 'test -e /run/{name} && exec sleep 1000000; sleep 2; exit 3'\n{more}\n"
)
# reads a file of so many MiB, so that its cgroup holds the cache, and stays
READER = (
    "[Service]\nExecStart=/bin/sh -c 'cat /var/tmp/big >/dev/null; touch /run/read; exec sleep 1000000'\n"
)


async def serve(machine: Machine, name: str, *, stands: bool, more: str = "") -> str:
    """Install a service and start it, one that stands or one that is soon failed; its full name."""
    unit = f"{name}.service"
    await machine.write(f"/etc/systemd/system/{unit}", SERVICE.format(name=name, more=more))
    state = "active" if stands else "failed"
    await machine.sh(
        f"{'touch' if stands else 'rm -f'} /run/{name}; systemctl daemon-reload; systemctl start {unit}"
    )
    stood = f"until [ $(systemctl show -P ActiveState {unit}) = {state} ]; do sleep 0.3; done"
    await machine.sh(stood, timeout_s=300)
    return unit


async def shown(machine: Machine, unit: str, what: str = "InvocationID") -> str:
    """A property of a service."""
    return (await machine.sh(f"systemctl show -P {what} -- '{unit}'")).strip()


async def test_a_service_is_restarted_and_stands(debian: Machine, product: Product) -> None:
    """A failed one is started, a running one gets another run; nothing else changes, and there is no way back."""
    down, up = await serve(debian, "down", stands=False), await serve(debian, "up", stands=True)
    surgery = await surgery_on(product, debian)
    before, run = await as_it_is(debian), await shown(debian, up)
    await debian.sh("touch /run/down")
    done = await surgery.operate("restart_service", unit=down, when="down")
    assert (done.state, done.problems, done.plan["risk"]) == ("verified", [], "amber")
    assert await shown(debian, down, "ActiveState") == "active"
    again = await surgery.operate("restart_service", unit=up, when="running")
    assert (again.state, again.problems, again.plan["risk"]) == ("verified", [], "red")
    assert await shown(debian, up) != run
    _, said, fault = await product.oombot("undo", again.id, "--yes")
    assert "can not be undone" in said + fault
    with pytest.raises(RefusedError, match="Nothing to do"):
        await surgery.propose("restart_service", unit=up, when="down")
    changed = differences(before, await as_it_is(debian))
    assert [line for line in changed if "down.service" not in line] == []


@pytest.mark.full
async def test_one_that_dies_again_and_one_that_a_person_restarts(debian: Machine, product: Product) -> None:
    """Dying again contradicts, with its result, also where systemd starts it anew; a faster person makes it stale."""
    down = await serve(debian, "down", stands=False)
    anew = await serve(debian, "anew", stands=True, more="Restart=always\nRestartSec=200ms")
    surgery = await surgery_on(product, debian)
    done = await surgery.operate("restart_service", unit=down, when="down")
    assert done.state == "contradicted"
    assert "it went down again, result exit-code" in " ".join(done.problems)

    asked = await surgery.propose("restart_service", unit=anew, when="running")
    await debian.sh(f"systemctl restart {anew}")
    run = await shown(debian, anew)
    assert (await surgery.approve(asked)).state == "stale"
    assert await shown(debian, anew) == run

    asked = await surgery.propose("restart_service", unit=anew, when="running")
    await debian.sh("rm /run/anew")
    done = await surgery.approve(asked)
    assert done.state == "contradicted"
    assert "result exit-code" in " ".join(done.problems) or "it has died since" in " ".join(done.problems)


async def calm(machine: Machine) -> None:
    """Wait until the disk has nothing to suffer from."""
    await machine.sh(
        "until awk -F'[= ]' '/^some/{exit $3 >= 5}' /proc/pressure/io; do sleep 1; done", timeout_s=180
    )


@pytest.mark.full
async def test_caches_are_dropped_and_reclaimed(debian: Machine, product: Product) -> None:
    """The kernel counts the drop; a unit gives back what it holds of cache, and no other one is touched."""
    await debian.write("/etc/systemd/system/reader.service", READER)
    await debian.sh(
        "dd if=/dev/zero of=/var/tmp/big bs=1M count=80 2>/dev/null; sync; echo 1 >/proc/sys/vm/drop_caches",
        timeout_s=300,
    )
    await debian.sh(
        "systemctl daemon-reload; systemctl start reader; until [ -e /run/read ]; do sleep 0.3; done",
        timeout_s=300,
    )
    surgery = await surgery_on(product, debian)
    before, file = await as_it_is(debian), "/sys/fs/cgroup/system.slice/reader.service/memory.current"
    held = int(await debian.sh(f"cat {file}"))
    await calm(debian)
    done = await surgery.operate("drop_caches", unit="reader.service", way="reclaim", mib=40)
    assert (done.state, done.problems, done.plan["risk"]) == ("verified", [], "amber")
    assert int(await debian.sh(f"cat {file}")) < held - (30 << 20)
    with pytest.raises(RefusedError, match="it holds only"):
        await surgery.propose("drop_caches", unit="reader.service", way="reclaim", mib=4000)
    await calm(debian)
    count = "awk '/^drop_(pagecache|slab)/{print $2}' /proc/vmstat"
    pages, slabs = (int(word) for word in (await debian.sh(count)).split())
    done = await surgery.operate("drop_caches", way="drop-3")
    assert (done.state, done.problems) == ("verified", [])
    assert [int(word) for word in (await debian.sh(count)).split()] == [pages + 1, slabs + 1]
    assert differences(before, await as_it_is(debian)) == []


UNITS = (
    "-H x.service",
    "../../up.service",
    "up.service\n",
    "*.service",
    "$(reboot).service",
    "--",
    "a b.service",
    "x@.service",
)
LINE = ("restart-unit", "--unit", "up.service", "--was")
ATTACKS = (
    *(("restart-unit", "--unit", unit, "--was", "-", "--active", "active") for unit in UNITS),
    *(("reclaim", "--unit", unit, "--mib", "1") for unit in UNITS),
    *(("reclaim", "--unit", "up.service", "--mib", size) for size in ("0", "-1", "9" * 20, "1G", "0x1")),
    *(("drop-caches", "--level", level) for level in ("0", "4", "-1", "1\n", "3; reboot")),
    (*LINE, "x", "--active", "active"),
    (*LINE, "-", "--active", "activating"),
    (*LINE, "-"),
)


@pytest.mark.full
async def test_words_of_an_attacker(debian13: Machine) -> None:
    """The real helper refuses them; an old run, an alias and a masked unit it leaves alone: nothing is restarted."""
    up = await serve(debian13, "up", stands=True)
    alias = "cd /etc/systemd/system; ln -s up.service other.service; ln -s /dev/null masked.service"
    await debian13.sh(f"{alias}; systemctl daemon-reload")
    before, run = await as_it_is(debian13), await shown(debian13, up)
    alone = [
        ("restart-unit", "--unit", unit, "--was", was, "--active", "active")
        for unit, was in ((up, "f" * 32), *((f"{name}.service", run) for name in ("other", "masked", "none")))
    ]
    said = await answers(debian13, *ATTACKS, *alone)
    assert [one for one in said[: len(ATTACKS)] if one["status"] != "refused"] == []
    for one in said[len(ATTACKS) :]:
        assert (one["status"], one["steps"][0].get("untouched")) == ("failed", True), one
    assert differences(before, await as_it_is(debian13)) == []
    assert await shown(debian13, up) == run
