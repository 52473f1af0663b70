"""The Store contract of approvals: votes, the lease of a host, freezes, and the chain of the trail."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from oombot.adapters import trail
from oombot.adapters.sql import SqlStore
from oombot.adapters.tables import METADATA
from oombot.proposals import Audit, Freeze, Request
from tests.adapters.test_sql import draft, move, request


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    """Open a store with one pending request."""
    async with SqlStore.open(f"sqlite:///{tmp_path}/oombot.db") as opened:
        await opened.add_request(request(), move("", "pending", at_s=10.0))
        yield opened


async def vote(store: SqlStore, who: str, *, needed: int = 2, at_s: float = 11.0, name: str = "r1") -> Any:
    """Cast a vote."""
    counted = replace(move("pending", "pending", name, at_s=at_s), event="voted", actor=who)
    return await store.vote(
        name,
        who,
        needed=needed,
        counted=counted,
        complete=replace(move("pending", "approved", name, at_s=at_s), actor=who),
        drafts=lambda now: [draft(f"plan:{now.id}", f"{now.state} {len(now.voters)}/{now.approvals}")],
    )


async def begin(store: SqlStore, name: str = "r1", *, limit: str = "", owner: str = "one") -> Any:
    """Begin a run."""
    return await store.begin_run(
        name,
        audit=move("approved", "running", name, at_s=12.0),
        evidence={"before": "0"},
        owner=owner,
        ttl_s=60.0,
        limit=lambda ran: limit,
        ran_since_s=0.0,
    )


async def test_votes_count_once_each(store: SqlStore) -> None:
    """The first of two keeps it pending, the same again changes nothing, another one completes it; all read back."""
    assert (await vote(store, "U1")).outcome == "counted"
    assert (await vote(store, "U1")).outcome == "again"
    stored = await store.request("r1")
    assert (stored.state, stored.voters, stored.approvals) == ("pending", ("U1",), 2)
    complete = await vote(store, "U2")
    assert complete.outcome == "complete"
    assert await store.request("r1") == complete.request
    assert (complete.request.state, complete.request.approver, complete.request.decided_s) == (
        "approved",
        "U2",
        11.0,
    )
    assert [line.event for line in await store.audit("r1")] == ["pending", "voted", "approved"]
    assert (await store.message("plan:r1")).view["text"] == "approved 2/2"
    assert (await vote(store, "U3")).outcome == "late"


async def test_a_vote_after_the_expiry_is_late(store: SqlStore) -> None:
    """A vote in the second of the expiry is not stored, nor one for what does not exist."""
    assert (await vote(store, "U1", needed=1, at_s=20.0)).outcome == "late"
    assert (await store.request("r1")).voters == ()
    assert (await vote(store, "U1", name="zz")).outcome == "late"


async def test_two_last_votes_at_once_complete_once(store: SqlStore) -> None:
    """Of votes that come together one is the last one."""
    votes = await asyncio.gather(*(vote(store, f"U{number}", needed=1) for number in range(5)))
    assert sorted(each.outcome for each in votes) == ["complete", "late", "late", "late", "late"]


async def test_a_host_is_leased_to_one_run(store: SqlStore) -> None:
    """The second change of a host is refused with the first one's name, until that one has come to its end."""
    await store.add_request(request("r2"), move("", "pending", "r2"))
    for name in ("r1", "r2"):
        await vote(store, "U1", needed=1, name=name)
    first = await begin(store)
    assert (first.lease.fence, first.lease.until_s) == (1, 72.0)
    assert (await begin(store, "r2")).busy.id == "r1"
    assert (await store.request("r2")).state == "approved"
    await store.transition("r1", audit=move("running", "failed"))
    assert await store.lease("web-1") is None
    assert (await begin(store, "r2")).lease.fence == 2


async def test_a_limit_is_asked_in_the_same_transaction(store: SqlStore) -> None:
    """What the limit says is handed back, and nothing was moved; what was run is what it was given."""
    await vote(store, "U1", needed=1)
    assert (await begin(store, limit="too many")).refused == "too many"
    assert (await store.request("r1")).state == "approved"
    await begin(store)
    assert [(at_s, each.id) for at_s, each in await store.ran(0.0)] == [(12.0, "r1")]
    assert await store.ran(12.5) == []


async def test_an_old_owner_writes_nothing(store: SqlStore) -> None:
    """A lease is taken over by its owner at once, by another one when it has run out; the fence shuts out the old."""
    await vote(store, "U1", needed=1)
    old = (await begin(store)).lease
    other: dict[str, Any] = {"owner": "two", "ttl_s": 60.0}
    assert await store.take_over("r1", "web-1", now_s=71.0, **other) is None
    assert await store.take_over("r2", "web-1", now_s=99.0, **other) is None
    new = await store.take_over("r1", "web-1", now_s=72.0, **other)
    assert new.fence == old.fence + 1
    assert not await store.transition("r1", audit=move("running", "failed"), fence=old.fence)
    assert await store.transition("r1", audit=move("running", "unverified"), fence=new.fence)


async def test_a_freeze_stands_until_it_is_ended(store: SqlStore) -> None:
    """One freeze at a time; what it held back is listed from its time on."""
    freeze = Freeze(person="U1", reason="storm", at_s=50.0)
    assert await store.frozen() is None
    assert await store.freeze(freeze, move("", "", "freeze"))
    assert not await store.freeze(replace(freeze, person="U2"), move("", "", "freeze"))
    assert await store.frozen() == freeze
    await store.add_audit(replace(move("pending", "pending", at_s=51.0), event="held_back"))
    assert [each.id for each in await store.held_back(50.0)] == ["r1"]
    assert await store.held_back(52.0) == []
    assert await store.unfreeze(move("", "", "freeze"))
    assert not await store.unfreeze(move("", "", "freeze"))
    assert await store.frozen() is None


async def test_history_is_newest_first(store: SqlStore) -> None:
    """The newest requests of a host, or of all."""
    for number, host in enumerate(("web-1", "db-1", "web-1"), 2):
        await store.add_request(
            request(f"r{number}", host, created_s=10.0 + number), move("", "pending", f"r{number}")
        )
    assert [each.id for each in await store.history("web-1")] == ["r4", "r2", "r1"]
    assert [each.id for each in await store.history(limit=2)] == ["r4", "r3"]


async def test_a_whole_chain_has_no_faults(store: SqlStore) -> None:
    """Lines of any content chain and verify; the export is one object a line, the newest hash the last."""
    data: dict[str, Any] = {
        "text": "é\0\ud800",
        "n": [1, 2.5, None, True],
        "t": (1, 2),
        "1": {"b": 1, "a": 2},
    }
    await store.add_audit(
        Audit(at_s=1, request_id="x", actor="a", event="e", state_from="", state_to="", data=data)
    )
    assert await trail.verify(store) == []
    lines = [line async for line in trail.export(store)]
    assert len(lines) == 2
    head = await store.trail_head()
    assert head is not None
    assert f'"hash": "{head[1]}"' in lines[-1]
    assert await trail.verify(store, kept=head[1]) == []
    assert "kept elsewhere" in (await trail.verify(store, kept="f" * 64))[0].what


CUTS = {
    "changed": ("UPDATE audits SET actor = 'evil' WHERE seq = 2", "line 2 was changed"),
    "changed data": ("UPDATE audits SET data = '{\"a\": 1}' WHERE seq = 3", "line 3 was changed"),
    "removed": ("DELETE FROM audits WHERE seq = 2", "between lines 1 and 3"),
    "first removed": ("DELETE FROM audits WHERE seq = 1", "between lines 0 and 2"),
    "cut": ("DELETE FROM audits WHERE seq > 3", "ends at line 3, but line 4 was written"),
    "all": ("DELETE FROM audits", "ends at line 0, but line 4"),
    "head": ("DELETE FROM trail_head", "kept apart, is missing"),
}


@pytest.mark.parametrize(("change", "said"), CUTS.values(), ids=list(CUTS))
async def test_a_tampered_or_cut_trail_is_found(store: SqlStore, change: str, said: str) -> None:
    """A line that was changed or removed, a tail that was cut, a missing newest hash: each is found and placed."""
    for number in range(3):
        await store.add_audit(replace(move("pending", "pending", at_s=float(number)), data={"n": number}))
    async with store._begin(write=True) as connection:
        await connection.execute(text(change))
    assert said in (await trail.verify(store))[0].what


async def test_old_lines_are_chained_by_the_migration(tmp_path: Path) -> None:
    """A trail of schema 0002 is a whole chain afterwards, and who had approved has voted."""
    url = f"sqlite:///{tmp_path}/oombot.db"
    async with SqlStore.open(url) as opened:
        await opened.add_request(request(), move("", "pending"))
        await opened.transition("r1", audit=move("pending", "approved"), approver="U7")
    await _back_to_0002(url)
    async with SqlStore.open(url) as opened:
        stored: Request | None = await opened.request("r1")
        assert stored is not None
        assert (stored.voters, stored.approvals) == (("U7",), 1)
        assert await trail.verify(opened) == []
        assert [line.seq for line in await opened.trail()] == [1, 2]
        await opened.add_audit(move("pending", "pending"))
        assert await trail.verify(opened) == []


async def _back_to_0002(url: str) -> None:
    """Take away what 0003 has added."""
    async with SqlStore.open(url) as opened, opened._begin(write=True) as connection:
        for name in ("votes", "leases", "freezes", "trail_head"):
            await connection.run_sync(METADATA.tables[name].drop)
        await connection.execute(text("DROP INDEX ix_audits_event_at_s"))
        for table, column in (("requests", "approvals"), ("audits", "prev_hash"), ("audits", "hash")):
            await connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
        await connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
