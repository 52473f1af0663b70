"""A change for a while only, on real machines: the host ends it without the bot, an undo before, or a reboot."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.lab.machine import Machine
from tests.lab.product import Product
from tests.lab.remedy import Operation, as_it_is, differences, surgery_on

pytestmark = pytest.mark.full

LIMIT = {"unit": "quiet.service", "memory_high": "96M", "lasting": "boot"}
HIGH = "/sys/fs/cgroup/system.slice/quiet.service/memory.high"
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


async def quiet(machine: Machine) -> None:
    """A real unit that comes back after a reboot."""
    await machine.write("/etc/systemd/system/quiet.service", UNIT)
    await machine.sh("systemctl daemon-reload; systemctl enable -q --now quiet.service", timeout_s=300)


async def high(machine: Machine) -> str:
    """The limit, as the kernel has it."""
    return (await machine.sh(f"cat {HIGH}")).strip()


async def armed(machine: Machine) -> list[str]:
    """Timers of ours, and the programs that they would run."""
    said = await machine.sh(
        "systemctl list-units --all --plain --no-legend 'oombot-back-*.timer' | cut -d' ' -f1; ls /run/oombot || true"
    )
    return said.split()


def later(product: Product, done: Operation, seconds: float) -> None:
    """Let the change have been made so much earlier, for the store of a bot that does not run."""
    evidence = done.evidence | {"at_s": done.evidence["at_s"] - seconds}
    with closing(sqlite3.connect(product.folder / "oombot.sqlite", timeout=30)) as store, store:
        store.execute("UPDATE requests SET evidence = ? WHERE id = ?", (json.dumps(evidence), done.id))


async def test_the_host_puts_it_back_without_the_bot(debian: Machine, product: Product) -> None:
    """The bot is dead when the time is over: the host puts it back once, and the next bot tells it from the record."""
    await quiet(debian)
    surgery = await surgery_on(product, debian)
    before = await as_it_is(debian)
    await product.start()
    done = await surgery.operate("memory_max", for_="5m", **LIMIT)
    assert (done.state, done.problems, await high(debian)) == ("verified", [], str(96 << 20))
    assert await armed(debian) == [f"oombot-back-{done.id}.timer", f"{done.id}.py"]
    await product.kill()
    due = await debian.sh(f"systemctl show -P NextElapseUSecMonotonic oombot-back-{done.id}.timer")
    assert due.strip() not in {"", "infinity"}
    # what the timer starts then, now: five minutes of waiting would show no more
    await debian.sh(f"systemctl start --wait oombot-back-{done.id}.service", timeout_s=300)
    await debian.sh(f"systemctl stop oombot-back-{done.id}.timer")
    record = json.loads(await debian.sh(f"cat /var/lib/oombot-helper/{done.id}-back"))
    assert record["status"] == "done", record
    assert differences(before, await as_it_is(debian)) == []
    assert (await high(debian), await armed(debian)) == ("max", [])
    later(product, done, 310)
    await product.start(first_contact=False)
    await product.until(
        lambda: [m for m in product.workspace.messages("oncall") if "has put this back" in str(m)],
        what="what the host did",
    )


async def test_an_undo_calls_it_off(debian: Machine, product: Product) -> None:
    """Undone before its time it is put back at once, and no timer is left to do it again."""
    await quiet(debian)
    surgery = await surgery_on(product, debian)
    before = await as_it_is(debian)
    done = await surgery.operate("memory_max", for_="5m", **LIMIT)
    assert (done.state, await high(debian)) == ("verified", str(96 << 20))
    undone = await surgery.undo(done)
    assert (undone.state, undone.problems) == ("verified", [])
    assert (await high(debian), await armed(debian)) == ("max", [])
    assert differences(before, await as_it_is(debian)) == []


async def test_a_reboot_ends_it(debian: Machine, product: Product) -> None:
    """After a reboot neither the change nor its timer is there."""
    await quiet(debian)
    surgery = await surgery_on(product, debian)
    done = await surgery.operate("memory_max", for_="5m", **LIMIT)
    assert (done.state, len(await armed(debian))) == ("verified", 2)
    await debian.reboot()
    await debian.up()
    assert (await high(debian), await armed(debian)) == ("max", [])
