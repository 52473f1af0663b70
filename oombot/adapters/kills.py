"""Kills in the store: each once, and each named in exactly one message, which is decided where it is stored."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import RowMapping, and_, case, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from oombot.adapters.rows import put_messages
from oombot.adapters.tables import INCIDENTS, enriched, incident_from, incident_row
from oombot.following import Digest, DigestLine, NewKill, StormRule
from oombot.model import Draft, Incident, OomKill
from oombot.sameness import same_kill

LATE_S = 120.0  # as a card says it
LINES = 30
DIGEST = "digest:"


async def record(
    connection: AsyncConnection,
    kills: Sequence[NewKill],
    *,
    digest: Callable[[Digest], Draft],
    rule: StormRule,
) -> list[Incident]:
    """Store kills with the messages that name them; return those that were new, as they are now."""
    new: dict[str, Incident] = {}
    digests: dict[str, str] = {}
    for incident, card in kills:
        stored = await _stored_kill(connection, incident)
        if stored is not None:
            known = await _enrich(connection, stored, incident)
            new.update({known.id: known} if known.id in new else {})
            continue
        named = incident
        if card is not None:
            key = await _digest_key(connection, incident, rule)
            if key is None:
                draft = card()
                await put_messages(connection, [draft])
            else:
                digests[key] = incident.channel
            named = replace(incident, message_key=key or draft.key)
        row = incident_row(named) | {"prints": _prints(named.kill)}
        await connection.execute(insert(INCIDENTS).values(row))
        new[named.id] = named
    for key, channel in digests.items():
        await put_messages(connection, [digest(await _digest(connection, key, channel))])
    return list(new.values())


async def shown(connection: AsyncConnection, host: str, boot_id: str, booted_s: float | None) -> int:
    """How many kill lines of this boot are stored; logs that do not name their boot count from its start on."""
    here: Any = INCIDENTS.c.boot_id == boot_id
    if booted_s is not None:
        here = or_(here, and_(INCIDENTS.c.boot_id.is_(None), INCIDENTS.c.at_s >= booted_s))
    query = select(func.coalesce(func.sum(INCIDENTS.c.prints), 0)).where(INCIDENTS.c.host == host, here)
    return int((await connection.execute(query)).scalar_one())


async def _digest_key(connection: AsyncConnection, incident: Incident, rule: StormRule) -> str | None:
    """The digest that takes this kill; None when it gets a card of its own."""
    now = incident.seen_s
    query = (
        select(INCIDENTS.c.message_key)
        .where(INCIDENTS.c.channel == incident.channel, INCIDENTS.c.message_key != "")
        .where(INCIDENTS.c.seen_s.between(now - rule.within_s, now + rule.within_s))
        .order_by(INCIDENTS.c.seq.desc())
        .limit(max(rule.cards, 1))
    )
    recent = [str(row.message_key) for row in await connection.execute(query)]
    running = recent[0] if recent and recent[0].startswith(DIGEST) else None
    if running is not None:
        began = select(func.min(INCIDENTS.c.seen_s)).where(INCIDENTS.c.message_key == running)
        if now - float((await connection.execute(began)).scalar_one()) < rule.longest_s:
            return running
    storm = running is not None or len(recent) >= rule.cards
    return f"{DIGEST}{incident.id}" if storm else None


async def _digest(connection: AsyncConnection, key: str, channel: str) -> Digest:
    """What the store holds of a digest, counted by the database: a storm's reports are large."""
    here = INCIDENTS.c.message_key == key
    late = func.sum(case((INCIDENTS.c.seen_s - INCIDENTS.c.at_s > LATE_S, 1), else_=0))
    first, last = func.min(INCIDENTS.c.at_s), func.max(INCIDENTS.c.at_s)
    hosts = func.count(INCIDENTS.c.host.distinct())
    whole = (await connection.execute(select(func.count(), hosts, late, first, last).where(here))).one()
    group = (INCIDENTS.c.host, INCIDENTS.c.comm)
    query = select(
        *group,
        func.count().label("kills"),
        first.label("first_s"),
        last.label("last_s"),
        func.min(INCIDENTS.c.pid).label("pid"),
    ).where(here)
    query = query.group_by(*group).order_by(func.count().desc(), *group).limit(LINES)
    lines = [DigestLine(**_plain(row)) for row in (await connection.execute(query)).mappings()]
    return Digest(
        key=key,
        channel=channel,
        kills=int(whole[0]),
        hosts=int(whole[1]),
        late=int(whole[2]),
        began_s=float(whole[3]),
        last_s=float(whole[4]),
        lines=tuple(lines),
    )


def _plain(row: RowMapping) -> dict[str, Any]:
    values = {name: row[name] for name in ("host", "comm", "kills", "first_s", "last_s")}
    return values | {"pid": row["pid"] if row["kills"] == 1 else None}


async def _stored_kill(connection: AsyncConnection, incident: Incident) -> Incident | None:
    """Find the stored print of this kill, if there is one."""
    alike = and_(INCIDENTS.c.host == incident.host, INCIDENTS.c.pid == incident_row(incident)["pid"])
    rows = await connection.execute(select(INCIDENTS).where(alike).order_by(INCIDENTS.c.seq))
    candidates = (incident_from(row) for row in rows.mappings())
    return next((stored for stored in candidates if same_kill(stored.kill, incident.kill)), None)


async def _enrich(connection: AsyncConnection, stored: Incident, again: Incident) -> Incident:
    """Add to the stored kill what only the other print knows; return it as it is now."""
    known = replace(stored, kill=enriched(stored.kill, again.kill))
    here = INCIDENTS.c.id == stored.id
    if known != stored:
        await connection.execute(update(INCIDENTS).where(here).values(incident_row(known)))
    if _second_print(stored.kill, again.kill):
        await connection.execute(update(INCIDENTS).where(here).values(prints=2))
    return known


def _prints(kill: OomKill) -> int:
    """What this kill adds to the kernel's counter: a userspace killer's kills are not counted there."""
    return 1 if kill.killer == "kernel" else 0


def _second_print(stored: OomKill, again: OomKill) -> bool:
    """memory.oom.group kills its first victim twice, which the kernel prints and counts twice; a replay is no print."""
    whole = stored.evidence == again.evidence == "kill_line"
    known = stored.mono_s is not None and again.mono_s is not None
    return whole and known and stored.mono_s != again.mono_s and stored.killer == "kernel"
