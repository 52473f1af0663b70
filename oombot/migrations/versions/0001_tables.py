"""The first tables: positions, snapshots, incidents, messages, requests, audits."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    _hosts()
    _incidents()
    _messages()
    _requests()
    _audits()


def _hosts() -> None:
    op.create_table(
        "positions",
        sa.Column("host", sa.String, primary_key=True),
        sa.Column("detector", sa.String, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("baselined_s", sa.Float),
        sa.Column("last_seen_s", sa.Float),
        sa.Column("problem", sa.Text, nullable=False),
    )
    op.create_table(
        "snapshots",
        sa.Column("host", sa.String, primary_key=True),
        sa.Column("taken_s", sa.Float, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )


def _incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("seen_s", sa.Float, nullable=False),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("history", sa.Boolean, nullable=False),
        sa.Column("kill", sa.JSON, nullable=False),
    )
    op.create_index("ix_incidents_host_pid", "incidents", ["host", "pid"])
    op.create_index("ix_incidents_at_s", "incidents", ["at_s"])


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("view", sa.JSON, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("sent_version", sa.Integer, nullable=False),
        sa.Column("thread_key", sa.String),
        sa.Column("channel_id", sa.String),
        sa.Column("ts", sa.String),
        sa.Column("posting_s", sa.Float),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("not_before_s", sa.Float, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )
    due = sa.text("sent_version < version")
    op.create_index("ix_messages_due", "messages", ["seq"], sqlite_where=due, postgresql_where=due)


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("requester", sa.String, nullable=False),
        sa.Column("created_s", sa.Float, nullable=False),
        sa.Column("expires_s", sa.Float, nullable=False),
        sa.Column("incident_id", sa.String, sa.ForeignKey("incidents.id")),
        sa.Column("undo_of", sa.String, sa.ForeignKey("requests.id")),
        sa.Column("approver", sa.String),
        sa.Column("decided_s", sa.Float),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("channel", sa.String, nullable=False),
    )
    op.create_index("ix_requests_state_host", "requests", ["state", "host"])
    op.create_index("ix_requests_undo_of", "requests", ["undo_of"])


def _audits() -> None:
    op.create_table(
        "audits",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("state_from", sa.String, nullable=False),
        sa.Column("state_to", sa.String, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )
    op.create_index("ix_audits_request_id", "audits", ["request_id"])


def downgrade() -> None:
    """Refuse: an older oombot would lose kills; restore the backup of the file instead."""
    raise NotImplementedError(downgrade.__doc__)
