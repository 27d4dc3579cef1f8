"""What was written for a user before they changed it, beside what they made of it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Do it."""
    op.add_column("documents", sa.Column("edit_query", sa.Text))
    op.add_column("documents", sa.Column("edit_written", sa.Text))


def downgrade() -> None:
    """Undo it."""
    op.drop_column("documents", "edit_written")
    op.drop_column("documents", "edit_query")
