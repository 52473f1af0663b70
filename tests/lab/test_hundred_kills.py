"""The acceptance test: a hundred kills while everything between a kernel and a channel breaks."""

import asyncio
from collections import Counter
from itertools import cycle, islice

from tests.lab.conftest import Connect
from tests.lab.link import Link
from tests.lab.machine import Killed, Machine
from tests.lab.product import Product, Stored

A_MACHINE = 34
AT_ONCE = 6  # programs that one unit starts, one after the other
NAMES = ("api", "batch", "cache")


async def test_a_hundred_kills(
    debian12: Machine, debian13: Machine, cgroup1: Machine, connect: Connect, product: Product
) -> None:
    """Every kill that three kernels logged is stored once, with pid, name and RSS, and told in exactly one message.

    Meanwhile the bot is killed and started again, links are cut, dropped and stalled, and one machine reboots.
    """
    machines = {"d12": debian12, "d13": debian13, "v1": cgroup1}
    links = {name: await connect(machine) for name, machine in machines.items()}
    for name, machine in machines.items():
        await product.add(name, machine, links[name])
    await product.start()

    over = asyncio.Event()
    trouble = asyncio.create_task(_trouble(product, [*links.values()], over))
    try:
        async with asyncio.TaskGroup() as all_machines:
            all_machines.create_task(_suffer(debian12, "d12", last="whole"))
            all_machines.create_task(_suffer(debian13, "d13"))
            all_machines.create_task(_suffer(cgroup1, "v1", reboot=True))
    finally:
        over.set()
        await trouble
    for link in links.values():
        link.mend()
    await product.kill()
    await product.start(first_contact=False)

    logged = {name: await machine.killed() for name, machine in machines.items()}
    expected = Counter((host, *_what(kill)) for host, kills in logged.items() for kill in kills)
    assert expected.total() >= 100
    assert len({kill.boot for kill in logged["v1"]}) == 2, "both boots have kills"
    await product.stored(expected.total(), within_s=400)
    await product.quiet()
    kills = product.kills()
    assert Counter((kill.host, *_what(kill)) for kill in kills) == expected
    _told_once(product, kills)


def _what(kill: Killed | Stored) -> tuple[object, ...]:
    return kill.pid, kill.name, kill.rss_kib


def _told_once(product: Product, kills: list[Stored]) -> None:
    """Each kill stands in one message, by name: on a card of its own or in a digest that counts it."""
    told = Counter(product.keys())
    assert {key for key in told if key.startswith(("incident:", "digest:"))} == {k.message_key for k in kills}
    for key, together in _by_message(kills).items():
        [message] = product.standing(key)
        if key.startswith("incident:"):
            [kill] = together
            assert f"{kill.name} (pid {kill.pid})" in message["text"]
            continue
        assert f"storm: {len(together)} kill" in message["text"]
        lines = str(message["blocks"])
        for (host, name), count in Counter((kill.host, kill.name) for kill in together).items():
            assert f"*{host}* {name} {f'×{count}' if count > 1 else '(pid '}" in lines


def _by_message(kills: list[Stored]) -> dict[str, list[Stored]]:
    found: dict[str, list[Stored]] = {}
    for kill in kills:
        found.setdefault(kill.message_key, []).append(kill)
    return found


async def _suffer(machine: Machine, host: str, *, last: str = "", reboot: bool = False) -> None:
    """Let the machine's units be killed, a few at a time; half way it reboots, right after a kill."""
    names = cycle(f"{host}-{name}" for name in NAMES)
    done = 0
    while done < A_MACHINE:
        some = [*islice(names, min(AT_ONCE, A_MACHINE - done))]
        await machine.out_of_memory(*some, unit=f"leaky-{done}", timeout_s=400)
        done += len(some)
        if reboot and done >= A_MACHINE // 2:
            reboot = False
            await machine.reboot()
    if last:
        await machine.out_of_all_memory(f"{host}-{last}", timeout_s=400)


async def _trouble(product: Product, links: list[Link], over: asyncio.Event) -> None:
    """Break one thing after the other, until it is over."""
    turn = 0
    while not over.is_set():
        await asyncio.sleep(3)
        link = links[turn % len(links)]
        (link.cut, link.drop, link.stall)[turn // len(links) % 3]()
        await asyncio.sleep(2)
        if turn % 4 == 0:
            await product.kill()
            await asyncio.sleep(1)
            await product.start(first_contact=False)
        link.mend()
        turn += 1
