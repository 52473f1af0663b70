"""Remedies: how many people must approve a request, and who has so far."""

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
        batch.add_column(sa.Column("voters", sa.JSON, nullable=False, server_default="[]"))
