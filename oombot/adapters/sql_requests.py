"""Requests in the store: every move is one conditional UPDATE, with its audit line and its messages."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from oombot.adapters import leases
from oombot.adapters.rows import add_audit, head_of_trail, put_messages
from oombot.adapters.tables import (
    AUDITS,
    FREEZES,
    LEASES,
    REQUESTS,
    VOTES,
    from_row,
    request_from,
    request_row,
)
from oombot.adapters.transactions import Transactions
from oombot.model import Draft, Json
from oombot.proposals import Audit, Begun, Freeze, Lease, Request, TrailLine, Vote

BUSY = ("approved", "running", "applied")
OPEN_UNDO = ("pending", "approved", "running", "applied", "verified")
"""States of an undo that leave no room for a second one."""


class SqlRequests(Transactions):
    """What people ask for and decide, who runs it, and the trail that it leaves."""

    # -- requests
    async def add_request(self, request: Request, audit: Audit, drafts: Sequence[Draft] = ()) -> bool:
        """Store a new request with its audit line and its messages.

        False, and nothing stored, where it is an undo and its original has one that is open or was verified.
        """
        async with self._begin(write=True) as connection:
            free = not await _other_undo(connection, request)
            if free:
                await _add_request(connection, request, audit, drafts)
        return free

    async def request(self, request_id: str) -> Request | None:
        """One request."""
        found = await self._requests(REQUESTS.c.id == request_id)
        return found[0] if found else None

    async def requests(self, states: Sequence[str], host: str | None = None) -> list[Request]:
        """Requests in any of these states, oldest first."""
        here = () if host is None else (REQUESTS.c.host == host,)
        return await self._requests(REQUESTS.c.state.in_(states), *here)

    async def history(self, host: str | None = None, *, limit: int = 50) -> list[Request]:
        """The newest requests, of one host or of all, newest first."""
        here = () if host is None else (REQUESTS.c.host == host,)
        return (await self._requests(*here, newest=limit))[::-1]

    async def undo_requests(self, request_id: str) -> list[Request]:
        """Requests that undo this one, oldest first."""
        return await self._requests(REQUESTS.c.undo_of == request_id)

    async def busy(self, host: str) -> Request | None:
        """A request that is approved, running or being read back on this host right now."""
        return next(iter(await self.requests(BUSY, host)), None)

    async def ran(self, since_s: float) -> list[tuple[float, Request]]:
        """Every run that was begun since then, with its time, oldest first."""
        async with self._begin() as connection:
            return await _ran(connection, since_s)

    async def _requests(self, *where: ColumnElement[bool], newest: int | None = None) -> list[Request]:
        async with self._begin() as connection:
            return await _read(connection, *where, newest=newest)

    async def transition(
        self,
        request_id: str,
        *,
        audit: Audit,
        approver: str | None = None,
        evidence: Json | None = None,
        drafts: Sequence[Draft] = (),
        not_after_s: float | None = None,
        fence: int | None = None,
    ) -> bool:
        """Move from audit.state_from to audit.state_to with one conditional UPDATE; false = somebody was faster.

        An `approver` is stored with the time of the audit line as decided_s; `evidence` replaces what was there.
        With `not_after_s` a request that expires then or has expired is not moved either; with `fence` only by
        the newest owner of its lease. A move to an end gives the host free.
        """
        values: dict[str, Any] = {}
        if approver is not None:
            values |= {"approver": approver, "decided_s": audit.at_s}
        if evidence is not None:
            values["evidence"] = dict(evidence)
        also = [] if not_after_s is None else [REQUESTS.c.expires_s > not_after_s]
        if fence is not None:
            own = and_(LEASES.c.request_id == request_id, LEASES.c.fence == fence)
            also.append(exists().where(own))
        async with self._begin(write=True) as connection:
            return await _move(connection, request_id, audit, drafts, *also, **values)

    async def vote(
        self,
        request_id: str,
        voter: str,
        *,
        needed: int,
        counted: Audit,
        complete: Audit,
        drafts: Callable[[Request], Sequence[Draft]],
    ) -> Vote:
        """Count one person's approval, once; the one that completes it moves the request by `complete`.

        `drafts` draws the messages of the request as it stands then. A vote after its expiry is late.
        """
        async with self._begin(write=True) as connection:
            request = await _only(connection, request_id)
            if request is None or request.state != "pending" or request.expires_s <= counted.at_s:
                return Vote(outcome="late", request=request)
            if voter in request.voters:
                return Vote(outcome="again", request=request)
            row = {"request_id": request_id, "voter": voter, "at_s": counted.at_s}
            await connection.execute(insert(VOTES).values(row))
            now = replace(request, voters=(*request.voters, voter), approvals=needed)
            if len(now.voters) < needed:
                here = REQUESTS.c.id == request_id
                await connection.execute(update(REQUESTS).where(here).values(approvals=now.approvals))
                await add_audit(connection, counted)
                await put_messages(connection, drafts(now))
                return Vote(outcome="counted", request=now)
            now = replace(now, state="approved", approver=voter, decided_s=complete.at_s)
            values = {"approver": voter, "decided_s": complete.at_s, "approvals": now.approvals}
            await _move(connection, request_id, complete, drafts(now), **values)
            return Vote(outcome="complete", request=now)

    async def replace_stale(
        self,
        request_id: str,
        *,
        audit: Audit,
        drafts: Sequence[Draft] = (),
        fresh: Request,
        fresh_audit: Audit,
        fresh_drafts: Sequence[Draft] = (),
    ) -> bool:
        """Move a request like `transition` and, only when it moved, store the one that follows it: both or none.

        False, and nothing stored, also where `fresh` is an undo and its original has another one besides these two.
        """
        async with self._begin(write=True) as connection:
            if await _other_undo(connection, fresh, besides=request_id):
                return False
            moved = await _move(connection, request_id, audit, drafts)
            if moved:
                await _add_request(connection, fresh, fresh_audit, fresh_drafts)
        return moved

    # -- one run a host at a time
    async def begin_run(
        self,
        request_id: str,
        *,
        audit: Audit,
        evidence: Json,
        drafts: Sequence[Draft] = (),
        owner: str,
        ttl_s: float,
        limit: Callable[[Sequence[tuple[float, Request]]], str],
        ran_since_s: float,
    ) -> Begun:
        """Move to running with the host's lease in the same transaction; not while another change has the host.

        `limit` is given every run that was begun since `ran_since_s` and names the limit that this one would cross.
        """
        async with self._begin(write=True) as connection:
            request = await _only(connection, request_id)
            if request is None:
                return Begun()
            holder = await leases.holder(connection, request.plan.host)
            if holder is not None and holder.request_id != request_id:
                return Begun(busy=await _only(connection, holder.request_id) or request)
            if await _frozen(connection):
                return Begun(frozen=True)
            refused = limit(await _ran(connection, ran_since_s))
            if refused:
                return Begun(refused=refused)
            if not await _move(connection, request_id, audit, drafts, evidence=dict(evidence)):
                return Begun()
            return Begun(
                lease=await leases.take(
                    connection, request.plan.host, request_id, owner=owner, until_s=audit.at_s + ttl_s
                )
            )

    async def take_over(
        self, request_id: str, host: str, *, owner: str, now_s: float, ttl_s: float
    ) -> Lease | None:
        """The lease of a run whose owner is this one or has not renewed it; None while another one has it."""
        async with self._begin(write=True) as connection:
            held = await leases.holder(connection, host)
            if held is not None and held.request_id != request_id:
                return None
            if held is not None and held.owner != owner and held.until_s > now_s:
                return None
            return await leases.take(connection, host, request_id, owner=owner, until_s=now_s + ttl_s)

    async def lease(self, host: str) -> Lease | None:
        """Who changes this host right now."""
        async with self._begin() as connection:
            return await leases.holder(connection, host)

    # -- freezes
    async def freeze(self, freeze: Freeze, audit: Audit) -> bool:
        """Store that nothing is to be changed; false where that is so already."""
        async with self._begin(write=True) as connection:
            there = await _frozen(connection)
            if not there:
                row = {"person": freeze.person, "reason": freeze.reason, "at_s": freeze.at_s}
                await connection.execute(insert(FREEZES).values(row))
                await add_audit(connection, audit)
        return not there

    async def unfreeze(self, audit: Audit) -> bool:
        """Store that changes may go on; false where they were not frozen."""
        values = {"ended_s": audit.at_s, "ended_by": audit.actor}
        query = update(FREEZES).where(FREEZES.c.ended_s.is_(None)).values(values)
        async with self._begin(write=True) as connection:
            ended = bool((await connection.execute(query)).rowcount)
            if ended:
                await add_audit(connection, audit)
        return ended

    async def frozen(self) -> Freeze | None:
        """Who froze all changes, when and why; None where they are not frozen."""
        row = await self._one(select(FREEZES).where(FREEZES.c.ended_s.is_(None)).order_by(FREEZES.c.seq))
        return None if row is None else from_row(Freeze, row, flag="")

    async def held_back(self, since_s: float) -> list[Request]:
        """Requests that a freeze has held back since then: they were approved or their Approve was pressed."""
        those = select(AUDITS.c.request_id).where(AUDITS.c.event == "held_back", AUDITS.c.at_s >= since_s)
        return await self._requests(REQUESTS.c.id.in_(those))

    # -- the audit trail
    async def add_audit(self, audit: Audit) -> None:
        """Write an audit line that moves nothing (a refused press)."""
        async with self._begin(write=True) as connection:
            await add_audit(connection, audit)

    async def audit(self, request_id: str) -> list[Audit]:
        """Return the audit trail of a request, oldest first."""
        return [line.audit for line in await self.trail(request_id=request_id)]

    async def trail(
        self, *, after: int = 0, limit: int = 1000, request_id: str | None = None
    ) -> list[TrailLine]:
        """Lines of the audit trail with their places in the chain, oldest first: of a request, or of everything."""
        query = select(AUDITS).where(AUDITS.c.seq > after)
        if request_id is not None:
            query = query.where(AUDITS.c.request_id == request_id)
        rows = await self._all(query.order_by(AUDITS.c.seq).limit(limit))
        return [from_row(TrailLine, row, audit=from_row(Audit, row)) for row in rows]

    async def trail_head(self) -> tuple[int, str] | None:
        """The number and the hash of the newest line, as they are kept apart from the lines."""
        async with self._begin() as connection:
            return await head_of_trail(connection)


# ------------------------------------------------------------------ inside a transaction
async def _read(
    connection: AsyncConnection, *where: ColumnElement[bool], newest: int | None = None
) -> list[Request]:
    """Requests with their votes, oldest first."""
    query = select(REQUESTS).where(*where).order_by(REQUESTS.c.created_s.desc(), REQUESTS.c.seq.desc())
    rows = (await connection.execute(query.limit(newest))).mappings().all()[::-1]
    ids = select(REQUESTS.c.id).where(*where)
    cast = select(VOTES.c.request_id, VOTES.c.voter).where(VOTES.c.request_id.in_(ids)).order_by(VOTES.c.seq)
    voters: dict[str, list[str]] = {}
    for vote in await connection.execute(cast):
        voters.setdefault(vote.request_id, []).append(vote.voter)
    return [request_from(row, tuple(voters.get(row["id"], ()))) for row in rows]


async def _only(connection: AsyncConnection, request_id: str) -> Request | None:
    found = await _read(connection, REQUESTS.c.id == request_id)
    return found[0] if found else None


async def _frozen(connection: AsyncConnection) -> bool:
    standing = select(FREEZES.c.seq).where(FREEZES.c.ended_s.is_(None))
    return (await connection.execute(standing)).first() is not None


async def _ran(connection: AsyncConnection, since_s: float) -> list[tuple[float, Request]]:
    begun = select(AUDITS.c.request_id, AUDITS.c.at_s).where(
        AUDITS.c.event == "running", AUDITS.c.at_s >= since_s
    )
    times = {row.request_id: row.at_s for row in await connection.execute(begun)}
    those = select(AUDITS.c.request_id).where(AUDITS.c.event == "running", AUDITS.c.at_s >= since_s)
    found = await _read(connection, REQUESTS.c.id.in_(those))
    return sorted(((times[each.id], each) for each in found), key=lambda pair: pair[0])


async def _move(
    connection: AsyncConnection,
    request_id: str,
    audit: Audit,
    drafts: Sequence[Draft],
    *conditions: ColumnElement[bool],
    **values: Any,
) -> bool:
    """Make the audit line's move where the request is in its state_from and the conditions hold."""
    here = and_(REQUESTS.c.id == request_id, REQUESTS.c.state == audit.state_from, *conditions)
    query = update(REQUESTS).where(here).values(state=audit.state_to, **values)
    moved = (await connection.execute(query)).rowcount == 1
    if moved:
        await add_audit(connection, audit)
        await put_messages(connection, drafts)
        if audit.state_to not in BUSY:
            await leases.release(connection, request_id)
    return moved


async def _other_undo(connection: AsyncConnection, request: Request, *, besides: str = "") -> bool:
    """Whether the original that this request undoes has another undo already."""
    if request.undo_of is None:
        return False
    others = and_(
        REQUESTS.c.undo_of == request.undo_of, REQUESTS.c.state.in_(OPEN_UNDO), REQUESTS.c.id != besides
    )
    return (await connection.execute(select(REQUESTS.c.id).where(others))).first() is not None


async def _add_request(
    connection: AsyncConnection, request: Request, audit: Audit, drafts: Sequence[Draft]
) -> None:
    await connection.execute(insert(REQUESTS).values(request_row(request)))
    await add_audit(connection, audit)
    await put_messages(connection, drafts)
