"""One transaction at a time on the store's database; what the audit trail gained goes into the log with its commit."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from oombot import trail
from oombot.adapters.database import WRITE, translated
from oombot.adapters.rows import WRITTEN
from oombot.errors import OombotError
from oombot.proposals import TrailLine


class Transactions:
    """What every part of the store is built upon."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take an engine whose database is migrated."""
        self._engine = engine
        self._turn = asyncio.Lock()
        self._closed = False

    @asynccontextmanager
    async def _begin(self, *, write: bool = False) -> AsyncIterator[AsyncConnection]:
        """One transaction, one at a time."""
        written: list[TrailLine] = []
        async with self._turn:
            if self._closed:
                raise OombotError("The store is closed; nothing was read or written.")
            with translated():
                async with self._engine.connect() as connection:
                    await connection.execution_options(**{WRITE: write, WRITTEN: written})
                    async with connection.begin():
                        yield connection
        for line in written:
            structlog.get_logger("oombot").info("audit", line=trail.exported(line))

    async def _one(self, query: Select[Any]) -> Any:
        async with self._begin() as connection:
            return (await connection.execute(query)).mappings().first()

    async def _all(self, query: Select[Any]) -> Sequence[Any]:
        async with self._begin() as connection:
            rows: Sequence[Any] = (await connection.execute(query)).mappings().all()
        return rows
