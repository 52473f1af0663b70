"""What the store keeps for following a fleet: digests of storms, counters, outages, and positions by the thousand."""

import asyncio
import gc
import json
from dataclasses import replace

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import event, text

from oombot.adapters.database import WRITE, make_engine
from oombot.adapters.sql import SqlStore
from oombot.following import Digest, Outage, Position, Reckoning, StormRule
from oombot.model import Draft, Incident, OomKill

STORM = StormRule()
HERE = Position(host="web-1", detector="kmsg", cursor="c", baselined_s=1.0, last_seen_s=2.0)
BOOT = "b"


@pytest.fixture
def url(tmp_path) -> str:
    """Name a file of our own."""
    return f"sqlite:///{tmp_path}/oombot.db"


@pytest.fixture
async def store(url):
    """Open a store on an empty database."""
    async with SqlStore.open(url) as opened:
        yield opened


def incident(
    number: int, *, at_s: float = 5000.0, host: str = "web-1", channel: str = "C1", **values
) -> Incident:
    """The kill of one pid, seen at once unless it is told otherwise."""
    known = {"comm": "app", "boot_id": BOOT, "mono_s": float(number * 10), "time_s": at_s}
    kill = OomKill(pid=number, **(known | values.pop("kill", {})))
    return Incident(id=f"i{number}", host=host, kill=kill, channel=channel, **({"seen_s": at_s} | values))


def card(of: Incident):
    """Its card, drawn when the store asks for it."""
    return lambda: Draft(key=f"incident:{of.id}", channel=of.channel, view={"text": of.id})


def digest(of: Digest) -> Draft:
    """A digest as plain data."""
    lines = [[line.host, line.comm, line.kills] for line in of.lines]
    view = {"kills": of.kills, "hosts": of.hosts, "late": of.late, "lines": lines, "more": of.more}
    return Draft(key=of.key, channel=of.channel, view=view)


async def told(store: SqlStore, *kills: Incident, rule: StormRule = STORM) -> list[str]:
    """Record kills one by one; the keys of the messages that name them."""
    keys = []
    for one in kills:
        [new] = await store.record_kills(HERE, [(one, card(one))], digest=digest, rule=rule)
        keys.append(new.message_key)
    return keys


async def test_the_sixth_card_within_a_minute_is_a_digest(store):
    """Five kills of a channel get cards; what follows within a minute goes into one digest, edited as it grows."""
    keys = await told(store, *(incident(n, at_s=5000.0 + n) for n in range(1, 9)))
    assert keys == [f"incident:i{n}" for n in range(1, 6)] + ["digest:i6"] * 3
    message = await store.message("digest:i6")
    assert (message.view["kills"], message.version) == (3, 3)
    assert await store.message("incident:i6") is None


async def test_kills_that_come_together_are_decided_one_by_one(store):
    """Eight kills in one batch are five cards and one digest of three."""
    kills = [incident(n) for n in range(8)]
    new = await store.record_kills(HERE, [(one, card(one)) for one in kills], digest=digest, rule=StormRule())
    assert [one.message_key.partition(":")[0] for one in new] == ["incident"] * 5 + ["digest"] * 3
    assert (await store.message("digest:i5")).view["kills"] == 3


async def test_a_storm_ends_when_it_is_quiet(store):
    """A minute without a kill ends the digest: the next kill gets a card again."""
    keys = await told(store, *(incident(n) for n in range(7)), incident(7, at_s=5061.0))
    assert keys[5:] == ["digest:i5", "digest:i5", "incident:i7"]


async def test_a_storm_that_does_not_end_begins_another_digest(store):
    """A kill every 50 s for hours makes a new message an hour, not one that nobody scrolls back to."""
    rule = StormRule(cards=1)
    keys = await told(store, *(incident(n, at_s=5000.0 + 50 * n) for n in range(80)), rule=rule)
    assert keys[0] == "incident:i0"
    assert list(dict.fromkeys(keys[1:])) == ["digest:i1", "digest:i73"]


async def test_storms_of_other_channels_do_not_count(store):
    """Each channel has its own flood."""
    keys = await told(
        store, *(incident(n) for n in range(6)), incident(6, channel="C2"), incident(7, channel="C2")
    )
    assert keys[5:] == ["digest:i5", "incident:i6", "incident:i7"]


async def test_a_second_print_is_in_no_second_message(store):
    """What a digest has named already is not named again, wherever the second print comes."""
    kills = [incident(n) for n in range(7)]
    await told(store, *kills)
    again = replace(kills[6], id="other", seen_s=9000.0)
    assert await store.record_kills(HERE, [(again, card(again))], digest=digest, rule=StormRule()) == []
    assert (await store.message("digest:i5")).view["kills"] == 2
    assert await store.message("incident:other") is None


async def test_digest_groups_and_is_bounded(store):
    """The largest groups of host and name are listed, the rest is counted, also what is told late."""
    rule = StormRule(cards=0)
    kills = [incident(n, kill={"comm": f"p{n % 40}"}, host=f"h{n % 3}") for n in range(80)]
    kills += [
        incident(100 + n, kill={"comm": "java"}, host="db", seen_s=5055.0, at_s=4000.0) for n in range(5)
    ]
    keys = await told(store, *kills, rule=rule)
    view = (await store.message("digest:i0")).view
    assert set(keys) == {"digest:i0"}
    assert (view["kills"], view["hosts"], view["late"], len(view["lines"])) == (85, 4, 5, 30)
    assert view["lines"][0] == ["db", "java", 5]
    assert view["more"] == 85 - 5 - sum(kills for _, _, kills in view["lines"][1:])


async def test_every_kill_is_named_in_exactly_one_message_after_a_restart(url):
    """The rule lives in the store: a bot that is started anew in a storm goes on with its digest."""
    keys = []
    for number in range(9):
        async with SqlStore.open(url) as store:
            keys += await told(store, incident(number))
    async with SqlStore.open(url) as store:
        stored = {one.id: one.message_key for one in await store.incidents()}
    assert list(dict.fromkeys(keys)) == [f"incident:i{n}" for n in range(5)] + ["digest:i5"]
    assert [stored[f"i{n}"] for n in range(9)] == keys


async def test_shown_counts_kill_lines_of_a_boot(store):
    """A victim that its group's kill printed twice counts twice, a replayed line once, other boots not at all."""
    first = incident(1)
    await told(store, first, incident(2), incident(3, kill={"boot_id": "other"}))
    second = replace(first, id="x", kill=replace(first.kill, mono_s=first.kill.mono_s + 0.001))
    for again in (second, second, replace(first, id="y")):
        await store.record_kills(HERE, [(again, card(again))], digest=digest, rule=StormRule())
    assert await store.shown("web-1", BOOT, None) == 3
    assert await store.shown("web-2", BOOT, None) == 0


async def test_logs_that_name_no_boot_count_by_time(store):
    """A syslog file does not say which boot a line is of: what came after the start counts."""
    nameless = [
        incident(n, kill={"boot_id": None, "mono_s": None, "report": str(n)}, at_s=5000.0 + n) for n in (1, 9)
    ]
    await told(store, *nameless)
    assert await store.shown("web-1", BOOT, 5005.0) == 1
    assert await store.shown("web-1", BOOT, None) == 0


async def test_reckoning_is_replaced_with_its_message(store):
    """What is settled of a counter and the message about it are stored at once."""
    assert await store.reckoning("web-1") is None
    await store.save_reckoning(Reckoning(host="web-1", boot_id=BOOT, unseen=2, at_s=1.0))
    newer = Reckoning(host="web-1", boot_id=BOOT, unseen=3, at_s=2.0)
    await store.save_reckoning(newer, [Draft(key="counter:x", channel="C1", view={"text": "x"})])
    assert await store.reckoning("web-1") == newer
    assert await store.message("counter:x") is not None


async def test_outage_ends_when_nobody_is_away(store):
    """Open outages are found again after a restart; one whose hosts are all back is not."""
    away = Outage(
        key="outage:1", channel="C1", place="group web", cause="unreachable", problem="p", fix="", since_s=1.0,
        hosts={"a": None, "b": 5.0},
    )  # fmt: skip
    await store.save_outage(away)
    assert await store.outages() == [away]
    back = replace(away, hosts={"a": 6.0, "b": 5.0})
    await store.save_outage(back, [Draft(key="outage:1", channel="C1", view={"text": "back"})])
    assert await store.outages() == []
    assert (await store.message("outage:1")).view["text"] == "back"


async def test_a_fleet_seen_at_once_is_few_transactions(store):
    """Five hundred hosts that are seen for the first time share transactions, and each waits until it is stored."""
    commits = 0

    def count(_connection) -> None:
        nonlocal commits
        commits += 1

    event.listen(store._engine.sync_engine, "commit", count)

    async def first_contact(number: int) -> None:
        host = f"h{number}"
        await store.save_snapshot(host, 1.0, b"raw")
        await store.save_position(replace(HERE, host=host))
        assert await store.position(host) is not None

    await asyncio.gather(*(first_contact(number) for number in range(500)))
    writes = commits
    await store.save_positions([replace(HERE, host=f"h{n}", cursor="new") for n in range(500)])
    assert commits == writes + 1
    assert writes < 560  # 500 of them are the reads of this test
    assert (await store.position("h499")).cursor == "new"


async def test_a_failed_batch_reaches_all_who_waited(store):
    """Nobody goes on as if a row were stored that is not; the next batch is stored again."""
    broken = [store.save_snapshot("h1", 1.0, None), store.save_position(replace(HERE, host="h2"))]
    results = await asyncio.gather(*broken, return_exceptions=True)
    assert [isinstance(result, Exception) for result in results] == [True, True]
    await store.save_position(replace(HERE, host="h2"))
    assert await store.position("h2") is not None


async def test_a_first_database_is_brought_up(url):
    """What the first schema held gets the new columns: boot and name from the kill, the message from its card."""
    engine = make_engine(url)
    kill = {"pid": 7, "comm": "app", "boot_id": BOOT, "mono_s": 70.0, "time_s": 5000.0}
    async with engine.connect() as connection:
        await connection.execution_options(**{WRITE: True})
        async with connection.begin():
            await connection.run_sync(_first_schema)
            for name, history in (("i7", False), ("old", True)):
                values = {"id": name, "history": history, "pid": 7 if name == "i7" else 8}
                await connection.execute(
                    text(
                        "INSERT INTO incidents (id, host, pid, at_s, seen_s, channel, history, kill) "
                        "VALUES (:id, 'web-1', :pid, 5000, 5000, 'C1', :history, :kill)"
                    ),
                    values | {"kill": json.dumps(kill | {"pid": values["pid"]})},
                )
    await engine.dispose()
    async with SqlStore.open(url) as store:
        stored = {one.id: one for one in await store.incidents()}
        assert (stored["i7"].message_key, stored["old"].message_key) == ("incident:i7", "")
        assert await store.shown("web-1", BOOT, None) == 2
        assert await told(store, incident(9)) == ["incident:i9"]


def _first_schema(connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "oombot:migrations")
    command.upgrade(config, "0001")


async def test_cancelled_writes_hold_no_lock(url: str) -> None:
    """A caller that is cancelled within a transaction, wherever that is, keeps nobody else from writing."""
    drafts = [Draft(key="a", channel="oncall", view={"text": "", "blocks": []})]
    gc.disable()  # it would free what the cancelled callers have left behind, now and then
    try:
        async with SqlStore.open(url) as store:
            for at in range(60):
                writing = asyncio.create_task(store.put_messages(drafts))
                for _ in range(at % 12):
                    await asyncio.sleep(0)
                await asyncio.sleep(at % 5 * 0.0004)
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
                await store.put_messages(drafts)  # fails after half a minute where a lock is held
    finally:
        gc.enable()
