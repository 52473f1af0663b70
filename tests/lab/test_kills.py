"""Kills by real kernels, of real units, told by the whole product."""

from tests.lab.machine import Machine
from tests.lab.product import Product


async def test_unit_and_machine_out_of_memory(any_machine: Machine, product: Product) -> None:
    """A kill by a unit's limit and one by the whole machine are each told once, as the kernel logged them."""
    await any_machine.out_of_memory("before")
    await product.add("web", any_machine)
    await product.start()
    await any_machine.out_of_memory("leaker", unit="leaky")
    await any_machine.out_of_all_memory("hungry")
    logged = {kill.name: kill for kill in await any_machine.killed()}
    assert set(logged) == {"before", "leaker", "hungry"}
    assert await any_machine.oom_kills() == 3

    stored = {kill.name: kill for kill in await product.stored(2)}
    assert set(stored) == {"leaker", "hungry"}  # what was before the first contact is history
    for name, kill in stored.items():
        assert (kill.pid, kill.rss_kib) == (logged[name].pid, logged[name].rss_kib)
        assert kill.kill["scope"] == ("memcg" if logged[name].memcg else "global")
    assert stored["leaker"].kill["oom_memcg"].endswith("/system.slice/leaky.service")

    await product.quiet()
    assert len(product.kills()) == 2
    for kill in stored.values():
        [card] = product.standing(kill.message_key)
        assert f"{kill.name} (pid {kill.pid})" in card["text"]
    assert product.messages("before (pid") == []
