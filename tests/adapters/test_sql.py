"""The Store contract on SQLite; on another database when OOMBOT_TEST_DATABASE names an empty one."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from oombot.adapters.sql import SqlStore
from oombot.adapters.tables import METADATA
from oombot.errors import ConfigError, OombotError
from oombot.following import Digest, Position, StormRule
from oombot.lifecycle import TRANSITIONS
from oombot.model import Command, Draft, Incident, OomKill, Task
from oombot.proposals import Audit, Check, Plan, Request, Step

STORM = StormRule()


@pytest.fixture
async def url(tmp_path) -> str:
    """Name an empty database."""
    given_url = os.environ.get("OOMBOT_TEST_DATABASE")
    if not given_url:
        return f"sqlite:///{tmp_path}/oombot.db"
    engine = create_async_engine(given_url)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)
        await connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    await engine.dispose()
    return given_url


@pytest.fixture
async def store(url) -> AsyncIterator[SqlStore]:
    """Open a store on the empty database."""
    async with SqlStore.open(url) as opened:
        yield opened


def position(cursor: str | None = "c1", host: str = "web-1", **values) -> Position:
    """Make a position."""
    values = {"detector": "journald", "baselined_s": 1.0, "last_seen_s": 2.0} | values
    return Position(host=host, cursor=cursor, **values)


def kill(pid: int = 7, **values) -> OomKill:
    """Make a kill as its one-line print tells it."""
    return OomKill(
        pid=pid, comm="app", **({"boot_id": "b", "mono_s": 100.0, "time_s": 5000.0, "report": "r"} | values)
    )


def case(name: str, of: OomKill, host: str = "web-1", **values) -> Incident:
    """Make an incident of a kill."""
    return Incident(id=name, host=host, kill=of, channel="C1", seen_s=5001.0, **values)


def draft(key: str, says: str = "hello", channel: str = "C1", thread_key: str | None = None) -> Draft:
    """Make a message."""
    return Draft(key=key, channel=channel, view={"text": says, "blocks": []}, thread_key=thread_key)


def request(name: str = "r1", host: str = "web-1", **values) -> Request:
    """Make a request with everything a plan may hold."""
    step = Step(
        why="so", do=Command(argv=("set-adj", "--pid", "7"), stdin="x", sudo=True), undo=None, by_hand="echo"
    )
    plan = Plan(
        host=host,
        boot_id=None,
        remediation="oom_score_adj",
        params={"pid": 7, "nested": {"list": [1, None]}},
        title="t",
        target="app",
        steps=(step, replace(step, undo=step.do)),
        checks=(Check(ok=True, text="a"), Check(ok=None, text="b")),
        effect=("e",),
        before="0",
        after="-500",
        lasts="process",
        risk="amber",
        mitigation=True,
        digest="d",
    )
    values = {"state": "pending", "created_s": 10.0, "expires_s": 20.0} | values
    return Request(id=name, plan=plan, requester="U1", **values)


def move(state_from: str, state_to: str, name: str = "r1", at_s: float = 11.0) -> Audit:
    """Make the audit line of a move."""
    return Audit(
        at_s=at_s, request_id=name, actor="U2", event=state_to, state_from=state_from, state_to=state_to
    )


def digest_draft(digest: Digest) -> Draft:
    """Draw a digest in a few words."""
    names = ", ".join(f"{line.host}/{line.comm} x{line.kills}" for line in digest.lines)
    return draft(digest.key, f"{digest.kills} kills: {names}; {digest.more} more", digest.channel)


async def recorded(store: SqlStore, position: Position, kills: list, rule: StormRule = STORM):
    """Record kills, with our own digests."""
    return await store.record_kills(position, kills, digest=digest_draft, rule=rule)


async def keys(store: SqlStore, now_s: float = 0.0) -> list[str]:
    """List the keys of what is due."""
    return [message.key for message in await store.due_messages(now_s)]


# ------------------------------------------------------------------ hosts
async def test_position_is_replaced(store):
    """A host has one position, the last one saved; a host never seen has none."""
    assert await store.position("web-1") is None
    await store.save_position(position("c1"))
    await store.save_position(position("c2", detector="kmsg", baselined_s=None))
    assert await store.position("web-1") == position("c2", detector="kmsg", baselined_s=None)
    assert await store.position("web-2") is None


async def test_snapshot_is_replaced(store):
    """The last raw reading is kept byte for byte."""
    assert await store.snapshot("web-1") is None
    await store.save_snapshot("web-1", 1.5, b"old")
    await store.save_snapshot("web-1", 2.5, b"\x00\xff\n")
    assert await store.snapshot("web-1") == (2.5, b"\x00\xff\n")


# ------------------------------------------------------------------ kills
async def test_record_kills_stores_all_three(store):
    """Kill, message and position are there together, and the kill reads back whole."""
    row = Task(
        pid=7, tgid=7, uid=None, name="app", rss_kb=1, swap_kb=None, pgtables_kb=2, oom_score_adj=-1000
    )
    whole = case("i1", kill(tasks=(row, row), scope="memcg", oom_memcg="/a", report="lines\n\ufffd é"))
    assert await recorded(store, position("c9"), [(whole, lambda: draft("k1"))]) == [
        replace(whole, message_key="k1")
    ]
    assert await store.incident("i1") == replace(whole, message_key="k1")
    assert (await store.message("k1")).version == 1
    assert await store.position("web-1") == position("c9")
    assert await store.incident("i2") is None


async def test_record_kills_is_one_transaction(store):
    """When one of the kills can not be stored nothing is: neither the others, the messages nor the position."""
    first, clash = case("i1", kill(1)), case("i1", kill(2))
    with pytest.raises(IntegrityError):
        await recorded(store, position(), [(first, lambda: draft("k1")), (clash, None)])
    assert await store.incidents() == []
    assert (await store.message("k1"), await store.position("web-1")) == (None, None)


async def test_any_pid_is_stored(store):
    """A log may claim any pid: it is kept, and does not stop the reading."""
    huge = case("i1", kill(2**70 + 7))
    await recorded(store, position(), [(huge, None), (case("i2", kill(7)), None)])
    assert await store.incident("i1") == huge
    assert len(await store.incidents()) == 2


async def test_a_kill_without_a_message(store):
    """History is stored without a message."""
    past = case("i1", kill(), history=True)
    assert await recorded(store, position(), [(past, None)]) == [past]
    assert (await store.incident("i1")).history
    assert await keys(store) == []


@pytest.mark.parametrize(
    ("again", "same"),
    [
        ({"mono_s": 101.9}, True),
        ({"mono_s": 98.1, "time_s": 9000.0}, True),  # kernel time decides where it is known
        ({"mono_s": 102.1}, False),
        ({"mono_s": 102.1, "time_s": 5000.0}, False),
        ({"mono_s": None, "time_s": 5001.9}, True),
        ({"mono_s": None, "time_s": 5002.1}, False),
        ({"mono_s": None, "time_s": None}, True),  # same comm and same report
        ({"mono_s": None, "time_s": None, "report": "other"}, False),
        ({"pid": 8}, False),
        ({"boot_id": "other"}, False),
        ({"boot_id": None}, True),
    ],
)
async def test_two_prints_of_one_kill(store, again, same):
    """Within 2 s of kernel time, else of wall time, else with the same text, a print is the same kill."""
    await recorded(store, position("c1"), [(case("i1", kill()), lambda: draft("k1"))])
    second = case("i2", replace(kill(), **again))
    new = await recorded(store, position("c2"), [(second, lambda: draft("k2"))])
    assert new == ([] if same else [replace(second, message_key="k2")])
    assert len(await store.incidents()) == (1 if same else 2)
    assert (await store.message("k2") is None) == same
    assert (await store.position("web-1")).cursor == "c2"


@pytest.mark.parametrize(
    ("first", "again", "same"),
    [
        ({"boot_id": None}, {"boot_id": None, "time_s": 5119.9}, True),
        ({"boot_id": None}, {"boot_id": None, "time_s": 5120.1}, False),
        ({"boot_id": None}, {"boot_id": None, "time_s": 4879.9}, False),
        ({"boot_id": None}, {"boot_id": "b", "time_s": 5120.1}, False),
        ({"boot_id": "b"}, {"boot_id": None, "time_s": 5120.1}, False),
        ({"boot_id": None}, {"boot_id": None, "time_s": None}, True),
        ({"boot_id": None}, {"boot_id": None, "mono_s": 102.1}, False),
        ({"boot_id": "b"}, {"boot_id": "b", "time_s": 5120.1}, True),  # a named boot needs no wall clock
    ],
)
async def test_the_same_second_of_an_unnamed_boot(store, first, again, same):
    """Without both boots' names kernel time must be borne out by wall time, which may be 120 s off, where known."""
    await recorded(store, position("c1"), [(case("i1", replace(kill(), **first)), None)])
    second = case("i2", replace(kill(), **again))
    assert await recorded(store, position("c2"), [(second, None)]) == ([] if same else [second])


async def test_hosts_are_apart(store):
    """The same pid and time on another host is another kill."""
    await recorded(store, position(), [(case("i1", kill()), None)])
    assert len(await recorded(store, position(host="b"), [(case("i2", kill(), host="b"), None)])) == 1


async def test_two_prints_in_one_batch(store):
    """The second print may come with the first: one kill, one message, and the first one's answer knows more."""
    poor = kill(evidence="constraint_line", time_approximate=True)
    rich = kill(
        mono_s=100.5, scope="memcg", oom_memcg="/a", uid=0, time_s=5000.4, report="r, longer", tasks=()
    )
    new = await recorded(
        store, position(), [(case("i1", poor), lambda: draft("k1")), (case("i2", rich), lambda: draft("k2"))]
    )
    known = replace(
        poor,
        scope="memcg",
        oom_memcg="/a",
        uid=0,
        evidence="kill_line",
        time_s=5000.4,
        time_approximate=False,
        report="r, longer",
    )
    assert new == [case("i1", known, message_key="k1")]
    assert await store.incidents() == [case("i1", known, message_key="k1")]
    assert await keys(store) == ["k1"]


async def test_a_later_print_adds_and_never_takes(store):
    """A later print fills what was not known; what is known stays, and 0 is knowledge."""
    await recorded(store, position(), [(case("i1", kill(uid=0, constraint="c")), None)])
    await recorded(
        store, position("c2"), [(case("i2", kill(uid=5, constraint=None, anon_rss_kb=9, report="")), None)]
    )
    assert (await store.incident("i1")).kill == kill(uid=0, constraint="c", anon_rss_kb=9)


async def test_incidents_newest_first(store):
    """Kills are listed by their own wall time, or by when they were seen where that is unknown."""
    a = case("a", kill(1, time_s=100.0))
    b = case("b", kill(2, time_s=None))  # seen at 5001
    c = case("c", kill(3, time_s=300.0), host="web-2")
    await recorded(store, position(), [(b, None), (c, None), (a, None)])
    assert [i.id for i in await store.incidents()] == ["b", "c", "a"]
    assert [i.id for i in await store.incidents("web-1")] == ["b", "a"]
    assert [i.id for i in await store.incidents(since_s=300.0)] == ["b", "c"]
    assert [i.id for i in await store.incidents(limit=1)] == ["b"]


# ------------------------------------------------------------------ messages
async def test_messages_coalesce(store):
    """A new key starts at version 1; the same view changes nothing; another one is wanted instead."""
    await store.put_messages([draft("k1"), draft("k1")])
    first = await store.message("k1")
    assert (first.version, first.sent_version, first.ts, first.posting_s) == (1, 0, None, None)
    await store.put_messages([draft("k1", "two")])
    await store.put_messages([draft("k1", "three")])
    newest = await store.message("k1")
    assert (newest.version, newest.sent_version, newest.view["text"]) == (3, 0, "three")
    assert await store.message("k2") is None


async def test_a_message_is_due_until_its_newest_version_stands(store):
    """An edit that came while the first post was under way is due after it."""
    await store.put_messages([draft("k1")])
    await store.message_posting("k1", 5.0)
    await store.put_messages([draft("k1", "two")])
    await store.message_sent("k1", 1, "C0CHAN", "17.1")
    [due] = await store.due_messages(0.0)
    assert (due.version, due.sent_version, due.channel_id, due.ts) == (2, 1, "C0CHAN", "17.1")
    await store.message_sent("k1", 2, "C0CHAN", "17.1")
    assert await keys(store) == []


async def test_one_due_message_per_channel(store):
    """Per channel the oldest is due, in the order of insertion, and new posts go before edits."""
    await store.put_messages([draft("a"), draft("b", channel="C2"), draft("c"), draft("d")])
    assert await keys(store) == ["a", "b"]
    await store.message_sent("a", 1, "C0", "1")
    await store.put_messages([draft("a", "edited")])
    assert await keys(store) == ["b", "c"]
    for key in ("c", "d"):
        await store.message_sent(key, 1, "C0", "2")
    assert sorted(await keys(store)) == ["a", "b"]


async def test_a_reply_waits_for_its_parent(store):
    """A reply is held while its parent is there and has no ts, and does not hold others."""
    await store.put_messages([draft("reply", thread_key="parent"), draft("other"), draft("parent")])
    assert await keys(store) == ["other"]
    await store.message_sent("other", 1, "C0", "1")
    assert await keys(store) == ["parent"]
    await store.message_posting("parent", 5.0)
    assert await keys(store) == []
    await store.message_sent("parent", 1, "C0", "2")
    assert await keys(store) == ["reply"]


async def test_a_reply_to_nothing_is_due(store):
    """A reply whose parent was never stored waits for nobody, until the parent is stored after all."""
    await store.put_messages([draft("reply", thread_key="parent")])
    assert await keys(store) == ["reply"]
    await store.put_messages([draft("parent")])
    assert await keys(store) == ["parent"]


async def test_edits_of_plans_come_first(store):
    """A plan's buttons vanish before anything else is said in its channel; its first post waits like others."""
    await store.put_messages([draft("a"), draft("b"), draft("plan:1"), draft("plan:2"), draft("plan:3")])
    for key in ("a", "plan:1", "plan:2"):
        await store.message_sent(key, 1, "C0", "1")
    await store.message_sent(
        "plan:3", 0, "C0", "1"
    )  # a copy that was found: its newest view is not known to stand
    await store.put_messages([draft("a", "edited"), draft("plan:2", "decided"), draft("plan:1", "decided")])
    await store.put_messages([draft("plans", channel="C2"), draft("x", channel="C2")])
    order = []
    while due := await store.due_messages(0.0):
        for message in due:
            order.append(message.key)
            await store.message_sent(message.key, message.version, "C0", message.ts or "2")
    assert [key for key in order if key not in {"plans", "x"}] == ["plan:1", "plan:2", "b", "a", "plan:3"]
    assert [key for key in order if key in {"plans", "x"}] == ["plans", "x"]


async def test_a_failed_edit_of_a_plan_lets_others_pass(store):
    """A plan's edit that must wait does not hold its channel."""
    await store.put_messages([draft("a"), draft("plan:1")])
    await store.message_sent("plan:1", 1, "C0", "1")
    await store.put_messages([draft("plan:1", "decided")])
    await store.message_failed("plan:1", "ratelimited", not_before_s=30.0, clear_posting=True)
    assert (await keys(store, 29.0), await keys(store, 30.0)) == (["a"], ["plan:1"])


async def test_a_half_posted_message_is_not_due(store):
    """What may already stand in Slack is not posted again before it was looked for."""
    await store.put_messages([draft("a"), draft("b")])
    await store.message_posting("a", 5.0)
    assert await keys(store) == ["b"]
    [half] = await store.half_posted()
    assert (half.key, half.posting_s) == ("a", 5.0)
    await store.message_failed("a", "not there", not_before_s=0.0, clear_posting=True)
    assert (await store.half_posted(), await keys(store)) == ([], ["a"])
    await store.message_posting("a", 6.0)
    await store.message_sent("a", 1, "C0", "1")
    assert (await store.half_posted(), await keys(store)) == ([], ["b"])


async def test_messages_of_a_kind(store):
    """Messages are found by how their keys begin, newest first; signs of a pattern in it mean themselves."""
    await store.put_messages([draft("fleet:a"), draft("plan:b"), draft("fleet:c"), draft("fleetxd")])
    assert [message.key for message in await store.messages("fleet:")] == ["fleet:c", "fleet:a"]
    assert [message.key for message in await store.messages("fleet:", limit=1)] == ["fleet:c"]
    assert await store.messages("%") == []


async def test_a_failed_message_waits(store):
    """After a failure the message waits for its time, counts the try and lets others pass; success forgets it."""
    await store.put_messages([draft("a"), draft("b")])
    await store.message_posting("a", 5.0)
    await store.message_failed("a", "ratelimited", not_before_s=30.0, clear_posting=True)
    await store.message_failed("a", "ratelimited", not_before_s=40.0, clear_posting=True)
    assert await keys(store, 39.9) == ["b"]
    assert await keys(store, 40.0) == ["a"]
    message = await store.message("a")
    assert (message.attempts, message.error, message.posting_s) == (2, "ratelimited", None)
    await store.message_sent("a", 1, "C0", "1")
    message = await store.message("a")
    assert (message.attempts, message.error, message.not_before_s) == (0, "", 0.0)


async def test_an_unclear_failure_stays_half_posted(store):
    """When nobody knows whether Slack took it, the message stays half posted."""
    await store.put_messages([draft("a")])
    await store.message_posting("a", 5.0)
    await store.message_failed("a", "timed out", not_before_s=9.0, clear_posting=False)
    [half] = await store.half_posted()
    assert (half.posting_s, half.error, half.not_before_s) == (5.0, "timed out", 9.0)


# ------------------------------------------------------------------ requests
async def test_request_reads_back_whole(store):
    """A stored plan is the plan that was approved, with its audit line and its message."""
    await recorded(store, position(), [(case("i1", kill()), None)])
    asked = request(evidence={"a": [1, {"b": None}]}, channel="C1", incident_id="i1")
    await store.add_request(asked, move("", "pending"), [draft("card")])
    assert await store.request("r1") == asked
    assert await store.request("r2") is None
    assert await store.audit("r1") == [move("", "pending")]
    assert await keys(store) == ["card"]


async def test_a_transition_writes_all_or_nothing(store):
    """The move writes state, approver, evidence, audit line and messages; a late one writes nothing."""
    await store.add_request(request(), move("", "pending"))
    data = replace(move("pending", "approved"), data={"rule": "p1"})
    assert await store.transition("r1", audit=data, approver="U2", drafts=[draft("k1")])
    assert not await store.transition(
        "r1", audit=move("pending", "denied"), approver="U3", drafts=[draft("k2")]
    )
    assert not await store.transition("r9", audit=move("pending", "denied", "r9"))
    decided = await store.request("r1")
    assert (decided.state, decided.approver, decided.decided_s) == ("approved", "U2", 11.0)
    assert await store.audit("r1") == [move("", "pending"), data]
    assert await store.audit("r9") == []
    assert await store.message("k2") is None
    assert await store.transition(
        "r1", audit=move("approved", "running", at_s=12.0), evidence={"result": "ok"}
    )
    running = await store.request("r1")
    assert (running.evidence, running.decided_s, running.approver) == ({"result": "ok"}, 11.0, "U2")


@pytest.mark.parametrize(("not_after_s", "moves"), [(19.9, True), (20.0, False), (20.1, False), (None, True)])
async def test_an_approval_that_comes_too_late(store, not_after_s, moves):
    """A request that has expired by then is not moved, and nothing of the move is written."""
    await store.add_request(request(expires_s=20.0), move("", "pending"))
    approve = move("pending", "approved", at_s=25.0)
    assert moves == await store.transition(
        "r1", audit=approve, approver="U2", drafts=[draft("k1")], not_after_s=not_after_s
    )
    assert (await store.request("r1")).state == ("approved" if moves else "pending")
    assert len(await store.audit("r1")) == 1 + moves
    assert (await store.message("k1") is not None) == moves


async def test_a_stale_request_is_replaced_at_once(store):
    """The old request moves and the new one is there, with both trails and both messages."""
    await store.add_request(request(), move("", "pending"))
    fresh = request("r2", created_s=12.0)
    assert await store.replace_stale(
        "r1",
        audit=move("pending", "stale"),
        drafts=[draft("old")],
        fresh=fresh,
        fresh_audit=move("", "pending", "r2"),
        fresh_drafts=[draft("new", channel="C2")],
    )
    assert (await store.request("r1")).state == "stale"
    assert await store.request("r2") == fresh
    assert [len(await store.audit(name)) for name in ("r1", "r2")] == [2, 1]
    assert await keys(store) == ["old", "new"]


async def test_a_request_that_moved_meanwhile_is_not_replaced(store):
    """Whoever is late replaces nothing: no new request, no line, no message."""
    await store.add_request(request(state="denied"), move("", "pending"))
    assert not await replaced(store, "r1", request("r2"), "pending")
    assert (await store.request("r1")).state == "denied"
    assert (await store.request("r2"), await store.audit("r2"), await keys(store)) == (None, [], [])
    assert len(await store.audit("r1")) == 1


async def test_replacing_is_one_transaction(store):
    """When the new request can not be stored the old one does not move."""
    await store.add_request(request(), move("", "pending"))
    with pytest.raises(IntegrityError):
        await replaced(store, "r1", request("r1"), "pending")
    assert (await store.request("r1")).state == "pending"
    assert len(await store.audit("r1")) == 1
    assert await keys(store) == []


async def test_a_stale_undo_is_replaced_by_one_undo(store):
    """The undo that goes stale makes room for the new one; another that is open does not."""
    await store.add_request(request(state="verified"), move("", "pending"))
    await store.add_request(request("u1", undo_of="r1", state="approved"), move("", "pending", "u1"))
    assert await replaced(store, "u1", request("u2", undo_of="r1"), "approved")
    assert not await replaced(store, "r1", request("u3", undo_of="r1"), "verified")
    assert [r.state for r in await store.undo_requests("r1")] == ["stale", "pending"]
    assert (await store.request("r1")).state == "verified"


async def replaced(store: SqlStore, name: str, fresh: Request, state: str) -> bool:
    """Replace a stale request, with a message each."""
    return await store.replace_stale(
        name,
        audit=move(state, "stale", name),
        drafts=[draft(f"old:{name}")],
        fresh=fresh,
        fresh_audit=move("", "pending", fresh.id),
        fresh_drafts=[draft(f"new:{fresh.id}")],
    )


async def test_of_two_transitions_one_wins(store):
    """Two presses at once: exactly one moves the request, and only its line is in the trail."""
    await store.add_request(request(), move("", "pending"))
    moves = [store.transition("r1", audit=move("pending", to)) for to in ("approved", "denied", "expired")]
    assert sorted(await asyncio.gather(*moves)) == [False, False, True]
    assert [line.state_to for line in await store.audit("r1")] == [
        "pending",
        (await store.request("r1")).state,
    ]


async def test_two_clients_of_one_database(url):
    """Two processes' worth of stores race for many requests: each is decided once, and nobody is locked out."""
    async with SqlStore.open(url) as one, SqlStore.open(url) as two:
        for number in range(15):
            await one.add_request(request(f"r{number}"), move("", "pending", f"r{number}"))
        races = [
            client.transition(f"r{number}", audit=move("pending", to, f"r{number}"))
            for number in range(15)
            for client, to in ((one, "approved"), (two, "denied"))
        ]
        assert sum(await asyncio.gather(*races)) == 15
        assert [len(await two.audit(f"r{number}")) for number in range(15)] == [2] * 15


async def test_requests_by_state_and_host(store):
    """Requests come oldest first, by state and host; one that is approved and not read back makes a host busy."""
    for name, host, state, created in (
        ("r2", "a", "running", 2.0),
        ("r1", "a", "approved", 1.0),
        ("r3", "b", "applied", 3.0),
        ("r4", "b", "pending", 0.0),
    ):
        await store.add_request(
            request(name, host, state=state, created_s=created), move("", "pending", name)
        )
    assert [r.id for r in await store.requests(["running", "approved", "pending"])] == ["r4", "r1", "r2"]
    assert [r.id for r in await store.requests(["running", "pending"], "b")] == ["r4"]
    assert await store.requests([]) == []
    assert (await store.busy("a")).id == "r1"
    assert (await store.busy("b")).id == "r3"
    assert await store.busy("c") is None


async def test_undo_points_back(store):
    """The undos of a request are found, oldest first."""
    assert await store.add_request(request(), move("", "pending"))
    for name, state in (("u1", "denied"), ("u2", "pending")):
        assert await store.add_request(request(name, undo_of="r1", state=state), move("", "pending", name))
    assert [r.id for r in await store.undo_requests("r1")] == ["u1", "u2"]
    assert await store.undo_requests("u1") == []


@pytest.mark.parametrize("state", sorted(TRANSITIONS))
async def test_one_open_undo_at_most(store, state):
    """While an undo is on its way, or was verified, no second one is stored; after a failure one is."""
    room = state not in {"pending", "approved", "running", "applied", "verified"}
    for name in ("r1", "r2"):
        await store.add_request(request(name), move("", "pending", name))
    await store.add_request(request("u1", undo_of="r1", state=state), move("", "pending", "u1"))
    second = request("u2", undo_of="r1")
    assert room == await store.add_request(second, move("", "pending", "u2"), [draft("k2")])
    assert (await store.request("u2") is not None, len(await store.audit("u2"))) == (room, room)
    assert (await store.message("k2") is not None) == room
    assert await store.add_request(request("u3", undo_of="r2"), move("", "pending", "u3"))


async def test_of_two_undos_at_once_one_is_stored(url):
    """Two processes that undo the same change at the same moment: one of them does."""
    async with SqlStore.open(url) as one, SqlStore.open(url) as two:
        await one.add_request(request(), move("", "pending"))
        undos = [
            client.add_request(request(name, undo_of="r1"), move("", "pending", name))
            for client, name in ((one, "u1"), (two, "u2"), (one, "u3"), (two, "u4"))
        ]
        assert sorted(await asyncio.gather(*undos)) == [False, False, False, True]
        assert len(await one.undo_requests("r1")) == 1


async def test_audit_is_appended(store):
    """A refused press is a line of its own, even for a request that never existed."""
    refused = replace(move("pending", "pending", "gone"), event="refused", data={"why": "not approver"})
    await store.add_audit(refused)
    await store.add_audit(refused)
    assert await store.audit("gone") == [refused, refused]


# ------------------------------------------------------------------ opening and closing
async def test_migrations_make_the_tables(url):
    """What the migrations make is exactly what the store expects."""
    async with SqlStore.open(url) as store, store._engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), METADATA)
        )
    assert differences == []


async def test_reopening_keeps_data(url):
    """Closing and opening again loses nothing, and a closed store says so."""
    async with SqlStore.open(url) as store:
        await recorded(store, position(), [(case("i1", kill()), lambda: draft("k1"))])
    async with SqlStore.open(url) as again:
        assert await again.incident("i1") == case("i1", kill(), message_key="k1")
        assert await keys(again) == ["k1"]
    with pytest.raises(OombotError, match="closed"):
        await store.incident("i1")


async def test_a_newer_schema_is_refused(url):
    """A database of a newer oombot is refused and left alone."""
    async with SqlStore.open(url) as store, store._begin(write=True) as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match=r"newer oombot \(schema 9999\)"):
        async with SqlStore.open(url):
            pass


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing/oombot.db", "unable to open database file; create its directory"),
        (".", "unable to open database file"),
        ("text.db", "file is not a database; this file is something else"),
        ("other.db", "already exists; its tables are not ours"),
        ("file:own.db?mode=ro&uri=true", "readonly database; let the account"),
        ("sqlserver://x", "Can't load plugin"),
        (":://", "is no database URL"),
    ],
)
async def test_a_bad_database_is_explained(tmp_path, name, says):
    """A database that can not be used is refused with the reason and the fix, and nothing is left open."""
    Path(tmp_path, "text.db").write_text("no database at all\n" * 100)
    await damage(tmp_path / "other.db", "CREATE TABLE incidents (x INTEGER)")
    async with SqlStore.open(str(tmp_path / "own.db")):
        pass
    threads = threading.active_count()
    place = f"sqlite:///{name.replace('file:', f'file:{tmp_path}/')}" if "mode=ro" in name else None
    place = place or (name if "://" in name else str(tmp_path / name))
    with pytest.raises(ConfigError, match=says):
        async with SqlStore.open(place):
            pass
    assert await only_threads(threads)


async def only_threads(count: int) -> bool:
    """Wait a moment for driver threads that were told to end."""
    for _ in range(200):
        if threading.active_count() <= count:
            return True
        await asyncio.sleep(0.01)
    return False


async def damage(path: Path, statement: str) -> None:
    """Run one statement on a SQLite file behind the store's back."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    async with engine.begin() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


async def test_sqlite_is_durable(tmp_path):
    """WAL with a full sync at every commit, foreign keys on, and a write lock taken at the start."""
    async with SqlStore.open(str(tmp_path / "x.db")) as store:
        said: list[str] = []
        event.listen(store._engine.sync_engine, "before_cursor_execute", lambda *a: said.append(a[2]))
        async with store._begin(write=True) as connection:
            values = [
                (await connection.execute(text(f"PRAGMA {name}"))).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        await store.position("web-1")
    assert values == ["wal", 2, 1, 30_000]
    assert [line for line in said if line.startswith("BEGIN")] == ["BEGIN IMMEDIATE", "BEGIN"]


async def test_the_file_is_its_owners_alone(tmp_path):
    """Whatever the umask, nobody else may read the file, its log, its index or its lock."""
    before = os.umask(0)
    try:
        async with SqlStore.open(f"sqlite:///{tmp_path}/x.db", exclusive=True) as store:
            await store.save_position(position())
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("x.db", "x.db-wal", "x.db-shm", "x.db.lock"), 0o600)


async def test_a_file_that_is_there_keeps_its_mode(tmp_path):
    """What its owner allowed others stays allowed, and a link is followed."""
    (tmp_path / "real.db").touch()
    (tmp_path / "real.db").chmod(0o640)
    (tmp_path / "link.db").symlink_to("real.db")
    (tmp_path / "dangling.db").symlink_to("new.db")
    for name in ("link.db", "dangling.db"):
        async with SqlStore.open(str(tmp_path / name)) as store:
            await store.save_position(position())
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("real.db", "new.db")] == [0o640, 0o600]


async def test_two_bots_do_not_share_a_file(tmp_path):
    """A second exclusive opening is refused with a fix, by whatever name; a reader is let in; closing frees it."""
    path, link = tmp_path / "x.db", tmp_path / "link.db"
    link.symlink_to(path)
    async with SqlStore.open(str(path), exclusive=True) as store:
        for place in (str(path), f"sqlite:///{link}", f"sqlite:///file:{path}?uri=true"):
            with pytest.raises(ConfigError) as caught:
                async with SqlStore.open(place, exclusive=True):
                    pass
            assert str(caught.value).startswith(
                f"another oombot runs on this store ({path}); end that one first"
            )
        async with SqlStore.open(str(path)) as reader:
            assert await reader.incidents() == []
        await store.save_position(position())
    async with SqlStore.open(str(path), exclusive=True) as again:
        assert await again.position("web-1") == position()


async def test_memory_is_not_locked():
    """Every store in memory is one of its own."""
    async with (
        SqlStore.open(":memory:", exclusive=True) as one,
        SqlStore.open("sqlite:///file:x?mode=memory&uri=true", exclusive=True) as two,
    ):
        await one.save_position(position())
        assert await two.position("web-1") is None
    assert not Path(":memory:.lock").exists()


async def test_a_lock_that_can_not_be_made_is_explained(tmp_path):
    """A missing directory is named, with the fix."""
    with pytest.raises(ConfigError, match=r"x\.db\.lock: No such file or directory; create its directory"):
        async with SqlStore.open(str(tmp_path / "missing" / "x.db"), exclusive=True):
            pass


CLAIM = """
import asyncio, os, signal, sys
from oombot.adapters.sql import SqlStore

async def main(path):
    async with SqlStore.open(path, exclusive=True):
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1]))
"""


async def test_the_lock_of_a_dead_process_is_free(tmp_path):
    """A bot that was killed does not keep its successor out."""
    path = str(tmp_path / "x.db")
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", CLAIM, path], check=False)
    assert done.returncode == -signal.SIGKILL
    async with SqlStore.open(path, exclusive=True) as store:
        assert await store.incidents() == []


async def test_a_fault_of_the_database_is_an_oombot_error(tmp_path):
    """When a table is gone the store says so as an OombotError and works on."""
    async with SqlStore.open(str(tmp_path / "x.db")) as store:
        await damage(tmp_path / "x.db", "DROP TABLE snapshots")
        with pytest.raises(OombotError, match="no such table: snapshots"):
            await store.snapshot("web-1")
        assert await store.position("web-1") is None


async def test_no_thread_outlives_the_store(tmp_path):
    """Opening and closing leaves no thread behind."""
    threads = threading.active_count()
    async with SqlStore.open(str(tmp_path / "x.db")) as store:
        await store.save_position(position())
    assert await only_threads(threads)


async def test_cancelling_a_write_leaves_the_store_whole(store):
    """Writers that are cancelled at any point neither block the next one nor leave half of their work."""
    chance, threads = random.Random(4), threading.active_count()
    for number in range(20):
        names = {1000 * number + n: f"i{number}-{n}" for n in range(3)}
        batch = [(case(name, kill(pid)), lambda name=name: draft(name)) for pid, name in names.items()]
        calm = StormRule(cards=1 << 30)
        task = asyncio.create_task(recorded(store, position(str(number)), batch, calm))
        await asyncio.sleep(chance.random() * 0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.save_position(position("end"))
    stored = [incident.id for incident in await store.incidents()]
    assert len(stored) % 3 == 0
    assert [name for name in stored if await store.message(name) is None] == []
    assert await only_threads(threads)


# ------------------------------------------------------------------ a crash
WRITER = """
import asyncio, sys
from oombot.adapters.sql import SqlStore
from oombot.following import Position, StormRule
from oombot.model import Draft, Incident, OomKill

async def main(path):
    async with SqlStore.open(path) as store:
        seen = await store.position("h")
        number = int(seen.cursor) if seen else 0
        while True:
            batch = []
            for _ in range(3):
                number += 1
                kill = OomKill(pid=number, comm="app", mono_s=float(number))
                incident = Incident(id=str(number), host="h", kill=kill, channel="C", seen_s=0.0)
                draft = Draft(key=str(number), channel="C", view={"text": "x"})
                batch.append((incident, lambda draft=draft: draft))
            here = Position(host="h", detector="d", cursor=str(number), baselined_s=0.0, last_seen_s=0.0)
            await store.record_kills(here, batch, digest=None, rule=StormRule(cards=1 << 30))
            print(number, flush=True)

asyncio.run(main(sys.argv[1]))
"""


def crash(path: str, after_s: float) -> int:
    """Start a writer, kill it some time after its first commit and return the last one that it said."""
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        said = [writer.stdout.readline()]
        time.sleep(after_s)
        writer.kill()
        said += writer.stdout.readlines()
    assert writer.returncode == -signal.SIGKILL
    return int(said[-1])


async def test_kill_9_loses_nothing_that_was_said(tmp_path):
    """After SIGKILL at any moment kills, messages and position agree, and no commit that was said is gone."""
    path, seed = str(tmp_path / "x.db"), random.randrange(10_000)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    for _ in range(4):
        said = crash(path, chance.random() * 0.3)
        async with SqlStore.open(path) as store:
            reached = int((await store.position("h")).cursor)
            stored = {int(incident.id) for incident in await store.incidents(limit=100_000)}
            assert reached >= said
            assert stored == set(range(1, reached + 1))
            assert [number for number in stored if await store.message(str(number)) is None] == []


# ------------------------------------------------------------------ any sequence
KEYS = st.sampled_from("abcd")
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(0, 2)),
    st.tuples(st.sampled_from(["posting", "sent", "failed", "unclear"]), KEYS, st.just(0)),
    st.tuples(st.just("kill"), KEYS, st.integers(0, 6)),
    st.tuples(
        st.just("move"),
        st.sampled_from(["pending", "approved", "running"]),
        st.sampled_from(["approved", "denied", "running", "failed"]),
    ),
)
DRAFTS = {
    "a": ("C1", None),
    "b": ("C1", "a"),
    "c": ("C2", None),
    "d": ("C2", "gone"),
}


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=25, deadline=None)
def test_any_sequence_keeps_the_invariants(steps):
    """Whatever happens in whatever order, the store's promises hold after every step."""
    asyncio.run(play(steps))


async def play(steps) -> None:
    async with SqlStore.open(":memory:") as store:
        await store.add_request(request(), move("", "pending"))
        wanted: dict[str, dict] = {}
        for name, first, second in steps:
            if name == "put":
                channel, parent = DRAFTS[first]
                put = draft(first, str(second), channel, parent)
                await store.put_messages([put])
                wanted[first] = put.view
            elif name == "move":
                await check_move(store, first, second)
            elif name == "kill":
                await check_kill(store, ord(first), float(second))
            else:
                await tell(store, name, first)
            await check_messages(store, wanted)


async def tell(store: SqlStore, name: str, key: str) -> None:
    message = await store.message(key)
    if name == "posting":
        await store.message_posting(key, 1.0)
    elif name == "sent":
        await store.message_sent(key, message.version if message else 1, "C0", "1")
    else:
        await store.message_failed(key, "e", not_before_s=0.0, clear_posting=name == "failed")


async def check_move(store: SqlStore, state_from: str, state_to: str) -> None:
    before, trail = await store.request("r1"), await store.audit("r1")
    moved = await store.transition("r1", audit=move(state_from, state_to))
    assert moved == (before.state == state_from)
    assert len(await store.audit("r1")) == len(trail) + moved
    assert (await store.request("r1")).state == (await store.audit("r1"))[-1].state_to


async def check_kill(store: SqlStore, pid: int, mono_s: float) -> None:
    before = await store.incidents()
    name = f"{pid}-{mono_s}-{len(before)}"
    found = case(name, kill(pid, mono_s=mono_s, time_s=None))
    new = await recorded(store, position(name), [(found, None)])
    near = [i for i in before if i.kill.pid == pid and abs(i.kill.mono_s - mono_s) <= 2]
    assert new == ([] if near else [found])
    assert len(await store.incidents()) == len(before) + len(new)
    assert (await store.position("web-1")).cursor == name


async def check_messages(store: SqlStore, wanted: dict[str, dict]) -> None:
    stored = {key: await store.message(key) for key in DRAFTS}
    assert {key for key, message in stored.items() if message} == set(wanted)
    assert all(stored[key].view == view for key, view in wanted.items())
    assert all(0 <= m.sent_version <= m.version for m in stored.values() if m)
    half = {m.key for m in await store.half_posted()}
    assert half == {m.key for m in stored.values() if m and m.posting_s is not None and m.ts is None}
    due = await store.due_messages(0.0)
    assert len({m.channel for m in due}) == len(due)
    for message in due:
        assert message.key not in half
        assert message.sent_version < message.version
        parent = stored.get(message.thread_key) if message.thread_key else None
        assert parent is None or parent.ts
