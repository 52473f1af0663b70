"""SqlStore: the Store on SQLAlchemy Core; SQLite in one file by default, PostgreSQL by its URL."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from oombot.adapters.database import claimed, make_engine, make_private, migrate
from oombot.adapters.kills import record, shown
from oombot.adapters.rows import Batch, Rows, put_messages, replace_row, replace_rows
from oombot.adapters.sql_requests import SqlRequests
from oombot.adapters.tables import (
    DUE,
    GAP,
    INCIDENTS,
    MESSAGES,
    OUTAGES,
    PLAN_EDIT,
    POSITIONS,
    RECKONINGS,
    SNAPSHOTS,
    from_row,
    incident_from,
    to_json,
)
from oombot.following import STORM, Digest, NewKill, Outage, Position, Reckoning, StormRule
from oombot.model import Draft, Incident, Message


class SqlStore(SqlRequests):
    """Everything that must outlive a crash, in a database. Made by `SqlStore.open`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take an engine whose database is migrated."""
        super().__init__(engine)
        self._batch = Batch(self._write)

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
