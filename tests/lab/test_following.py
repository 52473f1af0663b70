"""Following real machines: long absence, a vacuumed journal, the counter against the log, a log nobody may read."""

from tests.lab.images import NOBODY
from tests.lab.link import Link
from tests.lab.machine import Machine
from tests.lab.product import Product

WIPE = (
    "journalctl --rotate && journalctl --vacuum-time=1s && journalctl --rotate && journalctl --vacuum-time=1s"
)


async def test_long_absence_vacuum_and_counter(debian: Machine, connect, product: Product) -> None:
    """After an absence what the log kept is told, what it lost is a gap, and the counter says how much that was."""
    link: Link = await connect(debian)
    await product.add("web", debian, link)
    await product.start()
    await product.until(lambda: product.query("SELECT 1 FROM reckonings"), what="the first count")

    link.cut()
    await debian.out_of_memory("kept1", "kept2", unit="leaky")
    link.mend()
    await product.stored(2)
    logged = {kill.name: kill for kill in await debian.killed()}
    for kill in product.kills():
        assert (kill.pid, kill.rss_kib) == (logged[kill.name].pid, logged[kill.name].rss_kib)
        assert kill.message_key.startswith("incident:")

    link.cut()
    await debian.out_of_memory("lost1", "lost2", "lost3", unit="leaky")
    await debian.sh("sync; sleep 2; " + WIPE)
    assert not {"lost1", "lost2", "lost3"} & {kill.name for kill in await debian.killed()}
    await debian.out_of_memory("after", unit="leaky")
    link.mend()
    await product.stored(3)
    gap = await product.message("part of the kernel log was not seen")
    assert "<!date^" in str(gap["blocks"])

    said = await product.message("counter says 6, log shows 3")
    assert "killed 3 processes" in said["text"]
    await product.quiet()
    assert {kill.name for kill in product.kills()} == {"kept1", "kept2", "after"}


async def test_blind_host_is_counted(debian12: Machine, product: Product) -> None:
    """An account that may read no log: the counter says that somebody was killed, and that nobody knows who."""
    await debian12.sh(
        "sysctl -qw kernel.dmesg_restrict=1; rm -f /var/log/kern.log /var/log/messages /var/log/syslog"
    )
    await product.add("web", debian12, user=NOBODY)
    await product.start(first_contact=False)
    await product.until(lambda: product.query("SELECT 1 FROM reckonings"), what="the first count")
    await debian12.out_of_memory("hidden", unit="leaky")
    said = await product.message("who is not known")
    assert "killed 1 process" in said["text"]
    assert product.kills() == []
    await debian12.sh("usermod -aG systemd-journal " + NOBODY)
