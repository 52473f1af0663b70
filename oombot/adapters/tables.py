"""The tables of the store, how the nouns go in and out of them, and when two prints are one kill."""

from dataclasses import fields, replace
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
)

from oombot.following import Outage, Position, Reckoning
from oombot.model import Draft, Incident, OomKill
from oombot.proposals import Audit, Plan, Request

METADATA = MetaData()
_EVIDENCE = ("constraint_line", "kill_line_truncated", "kill_line")  # weakest first
_NOT_KNOWLEDGE = ("pid", "comm", "killer", "evidence", "report", "time_s", "time_approximate")

T = TypeVar("T")
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (Audit, Draft, OomKill, Outage, Plan, Position, Reckoning)
}

POSITIONS = Table(
    "positions",
    METADATA,
    Column("host", String, primary_key=True),
    Column("detector", String, nullable=False),
    Column("cursor", Text),
    Column("baselined_s", Float),
    Column("last_seen_s", Float),
)
SNAPSHOTS = Table(
    "snapshots",
    METADATA,
    Column("host", String, primary_key=True),
    Column("taken_s", Float, nullable=False),
    Column("raw", LargeBinary, nullable=False),
)
INCIDENTS = Table(
    "incidents",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("at_s", Float, nullable=False),  # wall time of the kill, or when it was seen
    Column("seen_s", Float, nullable=False),
    Column("channel", String, nullable=False),
    Column("history", Boolean, nullable=False),
    Column("kill", JSON, nullable=False),
    Column("boot_id", String),
    Column("comm", String, nullable=False, server_default=""),
    Column("message_key", String, nullable=False, server_default=""),  # of the one message that names it
    Column(
        "prints", Integer, nullable=False, server_default="1"
    ),  # kill lines of it, as the kernel counts kills
    Index("ix_incidents_host_pid", "host", "pid"),
    Index("ix_incidents_at_s", "at_s"),
    Index("ix_incidents_channel_seen_s", "channel", "seen_s"),
    Index("ix_incidents_message_key", "message_key"),
)
RECKONINGS = Table(
    "reckonings",
    METADATA,
    Column("host", String, primary_key=True),
    Column("boot_id", String, nullable=False),
    Column("unseen", Integer, nullable=False),
    Column("at_s", Float, nullable=False),
)
OUTAGES = Table(
    "outages",
    METADATA,
    Column("key", String, primary_key=True),
    Column("channel", String, nullable=False),
    Column("place", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("problem", Text, nullable=False),
    Column("fix", Text, nullable=False),
    Column("since_s", Float, nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("hosts", JSON, nullable=False),
    Column("ended", Boolean, nullable=False),
    Index("ix_outages_ended", "ended"),
)
MESSAGES = Table(
    "messages",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("key", String, nullable=False, unique=True),
    Column("channel", String, nullable=False),
    Column("view", JSON, nullable=False),
    Column("version", Integer, nullable=False),
    Column("sent_version", Integer, nullable=False),
    Column("thread_key", String),
    Column("channel_id", String),
    Column("ts", String),
    Column("posting_s", Float),
    Column("attempts", Integer, nullable=False),
    Column("not_before_s", Float, nullable=False),
    Column("error", Text, nullable=False),
)
DUE = MESSAGES.c.sent_version < MESSAGES.c.version
GAP = MESSAGES.c.key.startswith("gap:")
PLAN_EDIT = and_(MESSAGES.c.sent_version >= 1, MESSAGES.c.ts.is_not(None), MESSAGES.c.key.startswith("plan:"))
Index("ix_messages_due", MESSAGES.c.seq, sqlite_where=DUE, postgresql_where=DUE)
REQUESTS = Table(
    "requests",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("state", String, nullable=False),
    Column("host", String, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("requester", String, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False),
    Column("incident_id", String, ForeignKey("incidents.id")),
    Column("undo_of", String, ForeignKey("requests.id")),
    Column("approver", String),
    Column("decided_s", Float),
    Column("evidence", JSON, nullable=False),
    Column("channel", String, nullable=False),
    Column("approvals", Integer, nullable=False, server_default="1"),
    Index("ix_requests_state_host", "state", "host"),
    Index("ix_requests_undo_of", "undo_of"),
)
AUDITS = Table(
    "audits",
    METADATA,
    Column("seq", Integer, primary_key=True),
    # no foreign key: a press on a request that never existed is written down too
    Column("request_id", String, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("actor", String, nullable=False),
    Column("event", String, nullable=False),
    Column("state_from", String, nullable=False),
    Column("state_to", String, nullable=False),
    Column("data", JSON, nullable=False),
    Column("prev_hash", String, nullable=False, server_default=""),
    Column("hash", String, nullable=False, server_default=""),
    Index("ix_audits_request_id", "request_id"),
    Index("ix_audits_event_at_s", "event", "at_s"),
)
# the newest line of the trail, apart from it: an end that was cut off is missed
TRAIL_HEAD = Table(
    "trail_head",
    METADATA,
    Column("name", String, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("hash", String, nullable=False),
)
VOTES = Table(
    "votes",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("request_id", String, ForeignKey("requests.id"), nullable=False),
    Column("voter", String, nullable=False),
    Column("at_s", Float, nullable=False),
    UniqueConstraint("request_id", "voter", name="uq_votes_request_id_voter"),
)
LEASES = Table(
    "leases",
    METADATA,
    Column("host", String, primary_key=True),
    Column("request_id", String, nullable=False),  # "" = the host is free; the fence goes on growing
    Column("owner", String, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("until_s", Float, nullable=False),
)
FREEZES = Table(
    "freezes",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("person", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("ended_s", Float),
    Column("ended_by", String),
)


# ------------------------------------------------------------------ nouns in and out
def to_json(noun: object) -> Any:
    """Turn a noun, with all it holds, into plain JSON values."""
    return _ADAPTERS[type(noun)].dump_python(noun, mode="json")


def from_json(kind: type[T], value: Any) -> T:
    """Read a noun back from plain JSON values."""
    noun: T = _ADAPTERS[kind].validate_python(value)
    return noun


def from_row(kind: type[T], row: RowMapping, **parts: Any) -> T:
    """Read a noun whose fields are columns; `parts` stand in for those that are not."""
    names = {field.name for field in fields(cast("Any", kind))}
    return kind(**{name: row[name] for name in names - set(parts)}, **parts)


def incident_row(incident: Incident) -> dict[str, Any]:
    """Lay an incident out in columns."""
    kill = incident.kill
    return {
        "id": incident.id,
        "host": incident.host,
        "pid": _pid(kill.pid),
        "at_s": incident.seen_s if kill.time_s is None else kill.time_s,
        "seen_s": incident.seen_s,
        "channel": incident.channel,
        "history": incident.history,
        "kill": to_json(kill),
        "boot_id": None if kill.boot_id is None else _stored(kill.boot_id),
        "comm": _stored(kill.comm),
        "message_key": incident.message_key,
    }


def _stored(text: str) -> str:
    """Leave out what a text column of PostgreSQL refuses."""
    return text.replace("\0", "")


def _pid(pid: int) -> int:
    """Cut a pid to its column, which only narrows the search: a log may claim any number."""
    return pid & 0x7FFF_FFFF


def incident_from(row: RowMapping) -> Incident:
    """Read an incident back."""
    return from_row(Incident, row, kill=from_json(OomKill, row["kill"]))


def request_row(request: Request) -> dict[str, Any]:
    """Lay a request out in columns."""
    row = {field.name: getattr(request, field.name) for field in fields(request) if field.name != "voters"}
    return row | {
        "host": request.plan.host,
        "plan": to_json(request.plan),
        "evidence": dict(request.evidence),
    }


def request_from(row: RowMapping, voters: tuple[str, ...]) -> Request:
    """Read a request back."""
    return from_row(Request, row, plan=from_json(Plan, row["plan"]), voters=voters)


# ------------------------------------------------------------------ one kill, printed twice
def enriched(stored: OomKill, again: OomKill) -> OomKill:
    """Return the stored kill with what only the other print knows; what is known stays as it is."""
    gains: dict[str, Any] = {}
    for field in fields(OomKill):
        value = getattr(again, field.name)
        if field.name not in _NOT_KNOWLEDGE and not _known(getattr(stored, field.name)) and _known(value):
            gains[field.name] = value
    if again.time_s is not None and (
        stored.time_s is None or (stored.time_approximate and not again.time_approximate)
    ):
        gains |= {"time_s": again.time_s, "time_approximate": again.time_approximate}
    if _strength(again) > _strength(stored):
        gains["evidence"] = again.evidence
    if gains and len(again.report) > len(stored.report):
        gains["report"] = again.report
    return replace(stored, **gains)


def _known(value: object) -> bool:
    return value is not None and value not in ("", ())


def _strength(kill: OomKill) -> int:
    return _EVIDENCE.index(kill.evidence) if kill.evidence in _EVIDENCE else -1
