"""Cards are filled in from readings: one reading for all that wait, and a silent host is said to be silent."""

import asyncio
from typing import Any

from oombot.engine import looks
from oombot.engine.cards import Cards
from oombot.following import Position, StormRule
from oombot.model import Incident
from tests.engine.conftest import Engine
from tests.examples import a_kill


async def stored(engine: Engine, count: int) -> list[Incident]:
    """That many stored kills of host42, with cards."""
    incidents = [
        Incident(
            id=f"incident-{number:04d}",
            host="host42",
            kill=a_kill(pid=5000 + number, mono_s=float(number * 10)),
            channel="oncall",
            seen_s=engine.clock(),
        )
        for number in range(count)
    ]
    rows = [(incident, await engine.cards.card(incident, replayed=False)) for incident in incidents]
    position = Position(host="host42", detector="kmsg", cursor="1", baselined_s=1.0, last_seen_s=1.0)
    await engine.store.record_kills(position, rows, digest=engine.cards.digest, rule=StormRule(cards=1000))
    return incidents


async def test_storm_is_one_reading(engine: Engine) -> None:
    """Sixty kills at once are looked at with one reading, and every card is filled in."""
    for incident in await stored(engine, 60):
        engine.cards.enrich(incident)
    versions: set[int] = set()
    for _ in range(3000):
        messages = [await engine.store.message(f"incident:incident-{number:04d}") for number in range(60)]
        versions = {message.version for message in messages if message is not None}
        if versions == {2}:
            break
        await asyncio.sleep(0.01)
    assert versions == {2}
    assert engine.machine.readings <= 2


async def test_silent_host_is_said_on_the_card(engine: Engine) -> None:
    """A host that stays silent after a kill: the card says why nothing more is known, and promises no edit."""
    [incident] = await stored(engine, 1)
    engine.machine.down = True
    cards = Cards(engine.context, engine.machine, again_s=0.02)  # type: ignore[arg-type]
    cards.enrich(incident)
    for _ in range(looks.TRIES + 5):
        await asyncio.sleep(0.03)
        engine.clock.now += 1
    await engine.send()
    assert "can not be reached" in str(engine.chat.message(f"incident:{incident.id}").view)


async def test_restart_goes_on_with_late_kills(engine: Engine) -> None:
    """A kill that was told late is looked at after a restart too: what counts is when it was seen."""
    [incident] = await stored(engine, 1)
    await engine.cards.recover()
    await asyncio.sleep(0.3)
    assert engine.machine.readings == 1
    message = await engine.store.message(f"incident:{incident.id}")
    assert message is not None
    assert message.version == 2


async def test_store_that_fails_once_leaves_the_cards_due(engine: Engine) -> None:
    """A full disk while a card is filled in: it is filled in when the disk is not full any more."""
    [incident] = await stored(engine, 1)
    put_messages, failures = engine.store.put_messages, [OSError("disk full")]

    async def failing(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return await put_messages(*args)

    engine.store.put_messages = failing  # type: ignore[method-assign]
    cards = Cards(engine.context, engine.machine, again_s=0.02)  # type: ignore[arg-type]
    cards.enrich(incident)
    for _ in range(10):
        await asyncio.sleep(0.03)
        engine.clock.now += 1
    message = await engine.store.message(f"incident:{incident.id}")
    assert message is not None
    assert message.version >= 2


async def test_clock_that_is_set_back_keeps_no_card_waiting(engine: Engine) -> None:
    """A kill after the clock was set back by an hour is looked at when it happens, not an hour later."""
    first, second = await stored(engine, 2)
    engine.cards.enrich(first)
    for _ in range(3000):
        if engine.machine.readings:
            break
        await asyncio.sleep(0.01)
    engine.clock.now -= 3600
    engine.cards.enrich(second)
    for _ in range(3000):
        message = await engine.store.message(f"incident:{second.id}")
        if message is not None and message.version > 1:
            break
        await asyncio.sleep(0.01)
    assert engine.machine.readings >= 2
    assert message is not None
    assert message.version > 1
