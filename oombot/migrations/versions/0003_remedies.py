"""Remedies: votes, one run a host at a time, freezes, and the audit trail as a chain of hashes."""

import hashlib
import json
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add what step 3 stores."""
    with op.batch_alter_table("requests") as batch:
        batch.add_column(sa.Column("approvals", sa.Integer, nullable=False, server_default="1"))
    _votes()
    op.create_table(
        "leases",
        sa.Column("host", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("until_s", sa.Float, nullable=False),
    )
    op.create_table(
        "freezes",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("ended_s", sa.Float),
        sa.Column("ended_by", sa.String),
    )
    _chain()


def _votes() -> None:
    """Who has approved, each once; who did so before this version is taken along."""
    votes = op.create_table(
        "votes",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("request_id", sa.String, sa.ForeignKey("requests.id"), nullable=False),
        sa.Column("voter", sa.String, nullable=False),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.UniqueConstraint("request_id", "voter", name="uq_votes_request_id_voter"),
    )
    requests = sa.table(
        "requests", sa.column("id"), sa.column("state"), sa.column("approver"), sa.column("decided_s")
    )
    approved = sa.select(requests.c.id, requests.c.approver, requests.c.decided_s).where(
        requests.c.approver.is_not(None), requests.c.decided_s.is_not(None), requests.c.state != "denied"
    )
    op.get_bind().execute(sa.insert(votes).from_select(["request_id", "voter", "at_s"], approved))


def _chain() -> None:
    """Chain the lines that are there, in their order; this copy of the rule must stay as it is."""
    with op.batch_alter_table("audits") as batch:
        batch.add_column(sa.Column("prev_hash", sa.String, nullable=False, server_default=""))
        batch.add_column(sa.Column("hash", sa.String, nullable=False, server_default=""))
        batch.create_index("ix_audits_event_at_s", ["event", "at_s"])
    head = op.create_table(
        "trail_head",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
    )
    fields = ("at_s", "request_id", "actor", "event", "state_from", "state_to")
    audits = sa.table(
        "audits",
        sa.column("seq"),
        *(sa.column(name) for name in fields),
        sa.column("data", sa.JSON),
        sa.column("prev_hash"),
        sa.column("hash"),
    )
    connection, before, last = op.get_bind(), "0" * 64, 0
    columns = [audits.c[name] for name in ("seq", *fields, "data")]
    for row in connection.execute(sa.select(*columns).order_by(audits.c.seq)).mappings().all():
        line = {**row, "prev_hash": before, "at_s": float(row["at_s"])}
        text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        found = {"prev_hash": before, "hash": hashlib.sha256(text.encode()).hexdigest()}
        connection.execute(sa.update(audits).where(audits.c.seq == row["seq"]).values(found))
        before, last = found["hash"], row["seq"]
    if last:
        connection.execute(sa.insert(head).values(name="audits", seq=last, hash=before))


def downgrade() -> None:
    """Refuse: an older oombot would lose votes and the chain; restore the backup of the file instead."""
    raise NotImplementedError(downgrade.__doc__)
