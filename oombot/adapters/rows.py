"""Rows as every part of the store writes them, inside a transaction; and hosts' rows written many at once."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from oombot import trail
from oombot.adapters.tables import AUDITS, MESSAGES, TRAIL_HEAD, to_json
from oombot.model import Draft
from oombot.proposals import Audit

Rows = Sequence[tuple[Table, dict[str, Any]]]

WRITTEN = "oombot_written"
"""The execution option that collects the transaction's lines of the audit trail."""
_AT_ONCE = 500  # rows a statement; databases bound their parameters


async def replace_row(connection: AsyncConnection, table: Table, row: dict[str, Any]) -> None:
    """Update the row of this primary key, or insert it: one writer at a time makes the pair safe."""
    [key] = table.primary_key.columns
    done = await connection.execute(update(table).where(key == row[key.name]).values(row))
    if not done.rowcount:
        await connection.execute(insert(table).values(row))


async def replace_rows(connection: AsyncConnection, rows: Rows) -> None:
    """Put whole rows in the place of those with their primary keys: a few statements for a fleet, not one a host."""
    for table in {table.name: table for table, _ in rows}.values():
        [key] = table.primary_key.columns
        mine = list({row[key.name]: row for other, row in rows if other is table}.values())
        for first in range(0, len(mine), _AT_ONCE):
            some = mine[first : first + _AT_ONCE]
            await connection.execute(delete(table).where(key.in_([row[key.name] for row in some])))
            await connection.execute(insert(table), some)


async def put_messages(connection: AsyncConnection, drafts: Sequence[Draft]) -> None:
    """Queue messages, or replace the wanted view of those that exist."""
    for draft in drafts:
        query = select(MESSAGES.c.view, MESSAGES.c.version).where(MESSAGES.c.key == draft.key)
        stored = (await connection.execute(query)).first()
        view = to_json(draft)["view"]
        if stored is None:
            row = to_json(draft) | {"version": 1, "sent_version": 0, "attempts": 0, "not_before_s": 0.0}
            await connection.execute(insert(MESSAGES).values(**row, error=""))
        elif stored.view != view:
            newer = {"view": view, "version": stored.version + 1}
            await connection.execute(update(MESSAGES).where(MESSAGES.c.key == draft.key).values(newer))


async def head_of_trail(connection: AsyncConnection) -> tuple[int, str] | None:
    """The number and the hash of the newest line, as they are kept apart from the lines."""
    row = (await connection.execute(select(TRAIL_HEAD.c.seq, TRAIL_HEAD.c.hash))).first()
    return None if row is None else (row.seq, row.hash)


async def add_audit(connection: AsyncConnection, audit: Audit) -> None:
    """Append a line to the trail, chained to the newest one; one writer at a time makes the chain one."""
    seq, before = await head_of_trail(connection) or (0, trail.GENESIS)
    plain: Audit = replace(audit, at_s=float(audit.at_s), data=json.loads(json.dumps(to_json(audit)["data"])))
    line = trail.link(seq + 1, before, plain)
    place = {"seq": line.seq, "prev_hash": line.prev_hash, "hash": line.hash}
    await connection.execute(insert(AUDITS).values(**to_json(plain), **place))
    await replace_row(connection, TRAIL_HEAD, {"name": "audits", "seq": line.seq, "hash": line.hash})
    below = connection.sync_connection
    assert below is not None  # it is open: the line was just written
    below.get_execution_options()[WRITTEN].append(line)


class Batch:
    """Hosts' rows that must be stored before their callers go on; those that wait together share a transaction.

    A fleet that is seen for the first time writes thousands at once, and each transaction waits for the disk.
    """

    def __init__(self, write: Callable[[Rows], Awaitable[None]]) -> None:
        """Take what writes rows in one transaction."""
        self._write = write
        self._turn = asyncio.Lock()
        self._waiting: dict[tuple[str, str], tuple[Table, dict[str, Any]]] = {}
        self._next: asyncio.Task[None] | None = None
        self._flushes: set[asyncio.Task[None]] = set()

    async def put(self, table: Table, row: dict[str, Any]) -> None:
        """Store a host's row; of two that wait the later one counts. A failure reaches all who waited."""
        self._waiting[table.name, row["host"]] = (table, row)
        if self._next is None:
            self._next = asyncio.create_task(self._flush())
            self._flushes.add(self._next)
            self._next.add_done_callback(self._flushes.discard)
        await asyncio.shield(self._next)

    async def settle(self) -> None:
        """Wait for what was begun, also by callers that were cancelled since."""
        await asyncio.gather(*self._flushes, return_exceptions=True)

    async def _flush(self) -> None:
        async with self._turn:
            self._next = None
            rows, self._waiting = list(self._waiting.values()), {}
            await self._write(rows)
