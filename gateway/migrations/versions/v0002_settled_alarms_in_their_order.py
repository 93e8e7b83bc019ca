"""Version 2: settled alarms in their order, so that the oldest are found without reading all.

The number of the schema stood in `meta`; from here on it is Alembic's alone.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the index that pruning reads."""
    op.create_index("ix_alarms_settled_at", "alarms", ["settled_at"])
    op.execute("DELETE FROM meta WHERE key = 'schema'")
