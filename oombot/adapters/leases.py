"""The lease of a host inside a transaction: one change at a time has it, and its number grows with every owner."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from oombot.adapters.rows import replace_row
from oombot.adapters.tables import LEASES, from_row
from oombot.proposals import Lease


async def holder(connection: AsyncConnection, host: str) -> Lease | None:
    """Who has the host; a lease that has run out is still the lease of its request."""
    query = select(LEASES).where(LEASES.c.host == host, LEASES.c.request_id != "")
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else from_row(Lease, row)


async def take(
    connection: AsyncConnection, host: str, request_id: str, *, owner: str, until_s: float
) -> Lease:
    """Give the host to a request's owner; whoever had it before writes nothing any more."""
    last = (await connection.execute(select(LEASES.c.fence).where(LEASES.c.host == host))).scalar()
    values = {"request_id": request_id, "owner": owner, "fence": (last or 0) + 1, "until_s": until_s}
    await replace_row(connection, LEASES, {"host": host, **values})
    return Lease(host=host, request_id=request_id, owner=owner, fence=(last or 0) + 1, until_s=until_s)


async def release(connection: AsyncConnection, request_id: str) -> None:
    """Give the host free where this request has it."""
    free = update(LEASES).where(LEASES.c.request_id == request_id).values(request_id="")
    await connection.execute(free)
