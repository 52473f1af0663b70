"""What following a fleet needs: which message names a kill, what kernels count, and which hosts are unheard."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns to the kills, fill them in, and create two tables."""
    op.add_column("incidents", sa.Column("boot_id", sa.String))
    for name, kind, default in (
        ("comm", sa.String, ""),
        ("message_key", sa.String, ""),
        ("prints", sa.Integer, "1"),
    ):
        op.add_column("incidents", sa.Column(name, kind, nullable=False, server_default=default))
    _fill_in()
    op.create_index("ix_incidents_channel_seen_s", "incidents", ["channel", "seen_s"])
    op.create_index("ix_incidents_message_key", "incidents", ["message_key"])
    with op.batch_alter_table("positions") as positions:
        positions.drop_column("problem")  # never filled: outages say it
    op.create_table(
        "reckonings",
        sa.Column("host", sa.String, primary_key=True),
        sa.Column("boot_id", sa.String, nullable=False),
        sa.Column("unseen", sa.Integer, nullable=False),
        sa.Column("at_s", sa.Float, nullable=False),
    )
    op.create_table(
        "outages",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("place", sa.String, nullable=False),
        sa.Column("cause", sa.String, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("fix", sa.Text, nullable=False),
        sa.Column("since_s", sa.Float, nullable=False),
        sa.Column("blind", sa.Boolean, nullable=False),
        sa.Column("hosts", sa.JSON, nullable=False),
        sa.Column("ended", sa.Boolean, nullable=False),
    )
    op.create_index("ix_outages_ended", "outages", ["ended"])


def _fill_in() -> None:
    """Until now every kill that is no history had a card of its own."""
    incidents = sa.table(
        "incidents",
        sa.column("id", sa.String),
        sa.column("history", sa.Boolean),
        sa.column("kill", sa.JSON),
        sa.column("boot_id", sa.String),
        sa.column("comm", sa.String),
        sa.column("message_key", sa.String),
    )
    connection = op.get_bind()
    known = connection.execute(sa.select(incidents.c.id, incidents.c.history, incidents.c.kill)).all()
    for row in known:
        boot_id = row.kill.get("boot_id")
        values = {
            "boot_id": None if boot_id is None else boot_id.replace("\0", ""),
            "comm": str(row.kill.get("comm", "")).replace("\0", ""),
            "message_key": "" if row.history else f"incident:{row.id}",
        }
        connection.execute(sa.update(incidents).where(incidents.c.id == row.id).values(values))


def downgrade() -> None:
    """Refuse: an older oombot would lose kills; restore the backup of the file instead."""
    raise NotImplementedError(downgrade.__doc__)
