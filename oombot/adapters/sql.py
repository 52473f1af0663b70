"""SqlStore: the Store on SQLAlchemy Core; SQLite in one file by default, PostgreSQL by its URL."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from oombot.adapters.database import WRITE, claimed, make_engine, make_private, migrate, translated
from oombot.adapters.kills import record, shown
from oombot.adapters.rows import Batch, Rows, put_messages, replace_row, replace_rows
from oombot.adapters.tables import (
    AUDITS,
    DUE,
    GAP,
    INCIDENTS,
    MESSAGES,
    OUTAGES,
    PLAN_EDIT,
    POSITIONS,
    RECKONINGS,
    REQUESTS,
    SNAPSHOTS,
    from_row,
    incident_from,
    request_from,
    request_row,
    to_json,
)
from oombot.errors import OombotError
from oombot.following import STORM, Digest, NewKill, Outage, Position, Reckoning, StormRule
from oombot.model import Draft, Incident, Json, Message
from oombot.proposals import Audit, Request

BUSY = ("approved", "running")
OPEN_UNDO = ("pending", "approved", "running", "applied", "verified")
"""States of an undo that leave no room for a second one."""


class SqlStore:
    """Everything that must outlive a crash, in a database. Made by `SqlStore.open`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take an engine whose database is migrated."""
        self._engine = engine
        self._turn = asyncio.Lock()
        self._batch = Batch(self._write)
        self._closed = False

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, exclusive: bool = False) -> "AsyncIterator[SqlStore]":
        """Open the database, creating and migrating its tables; it is closed when the block ends.

        A ConfigError says what is wrong with the database and what mends it. `exclusive` is for the one process
        that acts: a second such one on the same SQLite file is refused; memory and PostgreSQL are not locked.
        """
        engine = make_engine(url)
        with claimed(engine.url) if exclusive else nullcontext():
            try:
                make_private(engine.url)
                await migrate(engine)
                store = cls(engine)
                try:
                    yield store
                finally:
                    await store._batch.settle()
                    store._closed = True
            finally:
                await engine.dispose()

    @asynccontextmanager
    async def _begin(self, *, write: bool = False) -> AsyncIterator[AsyncConnection]:
        """One transaction, one at a time."""
        async with self._turn:
            if self._closed:
                raise OombotError("The store is closed; nothing was read or written.")
            with translated():
                async with self._engine.connect() as connection:
                    await connection.execution_options(**{WRITE: write})
                    async with connection.begin():
                        yield connection

    async def _one(self, query: Select[Any]) -> Any:
        async with self._begin() as connection:
            return (await connection.execute(query)).mappings().first()

    async def _all(self, query: Select[Any]) -> Sequence[Any]:
        async with self._begin() as connection:
            rows: Sequence[Any] = (await connection.execute(query)).mappings().all()
        return rows

    async def _write(self, rows: Rows) -> None:
        async with self._begin(write=True) as connection:
            await replace_rows(connection, rows)

    # -- hosts
    async def position(self, host: str) -> Position | None:
        """How far the host's log has been read; None for a host never seen."""
        row = await self._one(select(POSITIONS).where(POSITIONS.c.host == host))
        return None if row is None else from_row(Position, row)

    async def positions(self) -> list[Position]:
        """How far every host was read."""
        return [from_row(Position, row) for row in await self._all(select(POSITIONS))]

    async def save_position(self, position: Position) -> None:
        """Replace the host's position."""
        await self._batch.put(POSITIONS, to_json(position))

    async def save_positions(self, positions: Sequence[Position]) -> None:
        """Replace the positions of many hosts at once."""
        await self._write([(POSITIONS, to_json(position)) for position in positions])

    async def save_snapshot(self, host: str, taken_s: float, raw: bytes) -> None:
        """Keep the last raw reading of a host."""
        await self._batch.put(SNAPSHOTS, {"host": host, "taken_s": taken_s, "raw": raw})

    async def snapshot(self, host: str) -> tuple[float, bytes] | None:
        """Return the last raw reading: (taken_s, raw)."""
        row = await self._one(select(SNAPSHOTS).where(SNAPSHOTS.c.host == host))
        return None if row is None else (row["taken_s"], row["raw"])

    async def reckoning(self, host: str) -> Reckoning | None:
        """What is settled of the host's counter; None where it was never counted."""
        row = await self._one(select(RECKONINGS).where(RECKONINGS.c.host == host))
        return None if row is None else from_row(Reckoning, row)

    async def save_reckoning(self, reckoning: Reckoning, drafts: Sequence[Draft] = ()) -> None:
        """Replace what is settled, and queue what is to be said about it, at once."""
        if not drafts:
            await self._batch.put(RECKONINGS, to_json(reckoning))
            return
        async with self._begin(write=True) as connection:
            await replace_row(connection, RECKONINGS, to_json(reckoning))
            await put_messages(connection, drafts)

    async def outages(self) -> list[Outage]:
        """Outages that have not ended, oldest first."""
        query = select(OUTAGES).where(OUTAGES.c.ended.is_(False)).order_by(OUTAGES.c.since_s, OUTAGES.c.key)
        return [from_row(Outage, row) for row in await self._all(query)]

    async def save_outage(self, outage: Outage, drafts: Sequence[Draft] = ()) -> None:
        """Replace an outage, with the message that tells it, at once; it has ended when none of its hosts is away."""
        row = to_json(outage) | {"ended": not outage.away}
        async with self._begin(write=True) as connection:
            await replace_row(connection, OUTAGES, row)
            await put_messages(connection, drafts)

    # -- kills
    async def record_kills(
        self,
        position: Position,
        kills: Sequence[NewKill],
        *,
        digest: Callable[[Digest], Draft],
        rule: StormRule = STORM,
    ) -> list[Incident]:
        """Store kills, the messages that name them and the position at once; return those that were new.

        A print that knows more than the stored one adds to it, and to what is returned when both came together.
        """
        async with self._begin(write=True) as connection:
            new = await record(connection, kills, digest=digest, rule=rule)
            await replace_row(connection, POSITIONS, to_json(position))
        return new

    async def shown(self, host: str, boot_id: str, booted_s: float | None) -> int:
        """How many kill lines of this boot of the host are stored."""
        async with self._begin() as connection:
            return await shown(connection, host, boot_id, booted_s)

    async def incident(self, incident_id: str) -> Incident | None:
        """One stored kill."""
        row = await self._one(select(INCIDENTS).where(INCIDENTS.c.id == incident_id))
        return None if row is None else incident_from(row)

    async def incidents(
        self, host: str | None = None, *, since_s: float = 0.0, limit: int = 1000
    ) -> list[Incident]:
        """Stored kills, newest first, by the wall time of the kill (when it was seen, where that is unknown)."""
        query = select(INCIDENTS).where(INCIDENTS.c.at_s >= since_s)
        if host is not None:
            query = query.where(INCIDENTS.c.host == host)
        rows = await self._all(query.order_by(INCIDENTS.c.at_s.desc(), INCIDENTS.c.seq.desc()).limit(limit))
        return [incident_from(row) for row in rows]

    # -- messages
    async def put_messages(self, drafts: Sequence[Draft]) -> None:
        """Queue messages, or replace the wanted view of those that exist (version + 1 when it differs)."""
        async with self._begin(write=True) as connection:
            await put_messages(connection, drafts)

    async def due_messages(self, now_s: float) -> list[Message]:
        """Per channel the oldest due message: edits of plans (their buttons must go), new posts, other edits.

        New posts that tell of gaps stand behind the others: a fleet that was started anew tells of one a host.
        Held back: until not_before_s; half posted ones; replies whose parent is stored and not yet in Slack.
        A reply to a message that nobody stored is due.
        """
        parent = MESSAGES.alias("parent")
        query = (
            select(MESSAGES)
            .outerjoin(parent, parent.c.key == MESSAGES.c.thread_key)
            .where(DUE, MESSAGES.c.not_before_s <= now_s)
            .where(or_(MESSAGES.c.posting_s.is_(None), MESSAGES.c.ts.is_not(None)))
            .where(or_(parent.c.key.is_(None), parent.c.ts.is_not(None)))
            .order_by(PLAN_EDIT.desc(), MESSAGES.c.ts.is_not(None), GAP, MESSAGES.c.seq)
        )
        first: dict[str, Message] = {}
        for row in await self._all(query):
            first.setdefault(row["channel"], from_row(Message, row))
        return list(first.values())

    async def message(self, key: str) -> Message | None:
        """One message by its key."""
        row = await self._one(select(MESSAGES).where(MESSAGES.c.key == key))
        return None if row is None else from_row(Message, row)

    async def messages(self, prefix: str, *, limit: int = 200) -> list[Message]:
        """The newest messages whose keys begin so."""
        those = select(MESSAGES).where(MESSAGES.c.key.startswith(prefix, autoescape=True))
        rows = await self._all(those.order_by(MESSAGES.c.seq.desc()).limit(limit))
        return [from_row(Message, row) for row in rows]

    async def message_posting(self, key: str, at_s: float) -> None:
        """Say that the first post is about to be tried (before it is)."""
        await self._set_message(key, posting_s=at_s)

    async def message_sent(self, key: str, version: int, channel_id: str, ts: str) -> None:
        """Say that `version` stands in Slack; earlier failures are forgotten."""
        place = {"channel_id": channel_id, "ts": ts}
        await self._set_message(key, sent_version=version, attempts=0, not_before_s=0.0, error="", **place)

    async def message_failed(self, key: str, error: str, *, not_before_s: float, clear_posting: bool) -> None:
        """Say that the try failed; `clear_posting` when it is sure that nothing was posted."""
        cleared = {"posting_s": None} if clear_posting else {}
        attempts = MESSAGES.c.attempts + 1
        await self._set_message(key, error=error, not_before_s=not_before_s, attempts=attempts, **cleared)

    async def message_gone(self, key: str) -> None:
        """Say that what stands in Slack, if it does, can be edited no more: the newest version is posted anew."""
        await self._set_message(key, channel_id=None, ts=None, posting_s=None)

    async def _set_message(self, key: str, **values: Any) -> None:
        async with self._begin(write=True) as connection:
            await connection.execute(update(MESSAGES).where(MESSAGES.c.key == key).values(**values))

    async def half_posted(self) -> list[Message]:
        """Messages whose post was begun and never confirmed."""
        begun = and_(MESSAGES.c.posting_s.is_not(None), MESSAGES.c.ts.is_(None))
        rows = await self._all(select(MESSAGES).where(begun).order_by(MESSAGES.c.seq))
        return [from_row(Message, row) for row in rows]

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
        row = await self._one(select(REQUESTS).where(REQUESTS.c.id == request_id))
        return None if row is None else request_from(row)

    async def requests(self, states: Sequence[str], host: str | None = None) -> list[Request]:
        """Requests in any of these states, oldest first."""
        query = select(REQUESTS).where(REQUESTS.c.state.in_(states))
        if host is not None:
            query = query.where(REQUESTS.c.host == host)
        rows = await self._all(query.order_by(REQUESTS.c.created_s, REQUESTS.c.seq))
        return [request_from(row) for row in rows]

    async def transition(
        self,
        request_id: str,
        *,
        audit: Audit,
        approver: str | None = None,
        evidence: Json | None = None,
        drafts: Sequence[Draft] = (),
        not_after_s: float | None = None,
    ) -> bool:
        """Move from audit.state_from to audit.state_to with one conditional UPDATE; false = somebody was faster.

        An `approver` is stored with the time of the audit line as decided_s; `evidence` replaces what was there.
        With `not_after_s` a request that expires then or has expired is not moved either.
        """
        values: dict[str, Any] = {}
        if approver is not None:
            values |= {"approver": approver, "decided_s": audit.at_s}
        if evidence is not None:
            values["evidence"] = dict(evidence)
        living = () if not_after_s is None else (REQUESTS.c.expires_s > not_after_s,)
        async with self._begin(write=True) as connection:
            return await _move(connection, request_id, audit, drafts, *living, **values)

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

    async def undo_requests(self, request_id: str) -> list[Request]:
        """Requests that undo this one, oldest first."""
        query = select(REQUESTS).where(REQUESTS.c.undo_of == request_id)
        rows = await self._all(query.order_by(REQUESTS.c.created_s, REQUESTS.c.seq))
        return [request_from(row) for row in rows]

    async def busy(self, host: str) -> Request | None:
        """A request that is approved or running on this host right now."""
        return next(iter(await self.requests(BUSY, host)), None)

    async def add_audit(self, audit: Audit) -> None:
        """Write an audit line that moves nothing (a refused press)."""
        async with self._begin(write=True) as connection:
            await _add_audit(connection, audit)

    async def audit(self, request_id: str) -> list[Audit]:
        """Return the audit trail of a request, oldest first."""
        query = select(AUDITS).where(AUDITS.c.request_id == request_id).order_by(AUDITS.c.seq)
        return [from_row(Audit, row) for row in await self._all(query)]


# ------------------------------------------------------------------ inside a transaction
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
        await _add_audit(connection, audit)
        await put_messages(connection, drafts)
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
    await _add_audit(connection, audit)
    await put_messages(connection, drafts)


async def _add_audit(connection: AsyncConnection, audit: Audit) -> None:
    await connection.execute(insert(AUDITS).values(to_json(audit)))
