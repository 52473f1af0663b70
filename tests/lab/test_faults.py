"""What befalls a host while it is followed: log rotated, reboot, frozen, gone, key changed."""

import json

from tests.lab.conftest import Connect
from tests.lab.machine import Machine
from tests.lab.product import Product

NEW_KEY = """
rm /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
systemctl restart ssh
"""


async def test_rotation_and_reboot_in_the_middle(debian: Machine, connect: Connect, product: Product) -> None:
    """A rotated journal is followed on, and the kill just before a reboot is told, as of the boot it was in."""
    link = await connect(debian)
    await product.add("web", debian, link)
    await product.start()
    await debian.sh("journalctl --rotate")
    await debian.out_of_memory("rotated")
    await product.stored(1)

    first_boot = await debian.boot_id()
    link.cut()  # nobody sees the kill before the machine goes down
    await debian.out_of_memory("reason")
    await debian.reboot()
    link.mend()
    await product.stored(2)
    await debian.out_of_memory("fresh")
    kills = await product.stored(3)
    logged = {kill.name: (kill.pid, kill.rss_kib) for kill in await debian.killed()}
    assert {kill.name: (kill.pid, kill.rss_kib) for kill in kills} == logged
    boots = {kill.name: kill.kill["boot_id"].replace("-", "") == first_boot for kill in kills}
    assert boots == {"rotated": True, "reason": True, "fresh": False}
    await product.quiet()
    assert [len(product.standing(kill.message_key)) for kill in kills] == [1, 1, 1]


async def test_frozen_and_gone(
    debian12: Machine, cgroup1: Machine, connect: Connect, product: Product
) -> None:
    """A frozen host and one without power are said to be unwatched; back again, they have what was missed told."""
    machines = {"frozen": debian12, "gone": cgroup1}
    links = {name: await connect(machine) for name, machine in machines.items()}
    for name, machine in machines.items():
        await product.add(name, machine, links[name])
    await product.start()
    for name, machine in machines.items():
        links[name].cut()
        await machine.out_of_memory(f"{name}-missed")
        await machine.sh("journalctl --sync; sync")
    debian12.freeze()
    cgroup1.power_off()
    for link in links.values():
        link.mend()

    for name in machines:
        status, said, errors = await product.oombot("ask", name)
        assert status != 0
        assert name in said + errors
        assert "missed" not in said
    await product.until(
        lambda: _away(product) == set(machines), what="both hosts to be told unheard", within_s=400
    )
    await product.message("not watched")
    assert product.kills() == []

    debian12.thaw()
    cgroup1.power_on()
    await cgroup1.up()
    kills = await product.stored(2, within_s=500)
    assert {(kill.host, kill.name) for kill in kills} == {(name, f"{name}-missed") for name in machines}
    await product.until(lambda: not _away(product), what="both hosts to be told watched again", within_s=400)
    await product.message("watched again")
    await product.until(lambda: not product.messages("not watched"), what="the messages to be edited")


async def test_changed_key(debian12: Machine, connect: Connect, product: Product) -> None:
    """A host that shows another key is refused, also by `hosts trust`; once its line is renewed, nothing was lost."""
    link = await connect(debian12)
    await product.add("web", debian12, link)
    await product.start()
    await debian12.sh(NEW_KEY)
    link.cut()
    link.mend()
    await debian12.out_of_memory("unseen")
    for argv in (("ask", "web"), ("hosts", "trust", "web")):
        status, said, errors = await product.oombot(*argv)
        assert status != 0
        assert "has changed" in said + errors
    assert product.kills() == []

    await product.trust(debian12, link.port)
    await product.stop()  # else it would come by itself, within five minutes
    await product.start(first_contact=False)
    [kill] = await product.stored(1)
    [logged] = await debian12.killed()
    assert (kill.pid, kill.name, kill.rss_kib) == (logged.pid, logged.name, logged.rss_kib)


def _away(product: Product) -> set[str]:
    """Hosts of which the channel says that nobody hears them."""
    rows = product.query("SELECT hosts FROM outages WHERE NOT ended")
    return {name for (hosts,) in rows for name, back in json.loads(hosts).items() if back is None}
