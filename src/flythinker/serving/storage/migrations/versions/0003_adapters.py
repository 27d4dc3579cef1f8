"""What was learned of users."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Do it."""
    op.create_table(
        "adapters",
        sa.Column("user", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("read", sa.Integer, nullable=False),
        sa.Column("base", sa.String, nullable=False),
        sa.Column("about", sa.Text),
        sa.Column("last_try", sa.Text),
        sa.PrimaryKeyConstraint("user"),
        sa.ForeignKeyConstraint(
            ["user"], ["users.number"], ondelete="CASCADE", name="fk_adapters_user"
        ),
    )
    op.create_table(
        "adapter_parts",
        sa.Column("user", sa.Integer, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("user", "part"),
        sa.ForeignKeyConstraint(
            ["user"], ["users.number"], ondelete="CASCADE", name="fk_adapter_parts_user"
        ),
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_table("adapter_parts")
    op.drop_table("adapters")
