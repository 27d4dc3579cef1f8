"""Versions of users and documents, and the index of each user's documents."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Do it."""
    op.add_column("users", _counter("version", sa.Integer()))
    op.add_column("users", _counter("epoch", sa.BigInteger()))
    op.add_column("documents", _counter("version", sa.Integer()))
    op.create_table(
        "index_parts",
        sa.Column("user", sa.Integer, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("user", "part"),
        sa.ForeignKeyConstraint(
            ["user"], ["users.number"], ondelete="CASCADE", name="fk_index_parts_user"
        ),
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_table("index_parts")
    op.drop_column("documents", "version")
    op.drop_column("users", "epoch")
    op.drop_column("users", "version")


def _counter(name: str, kind: sa.types.TypeEngine[int]) -> sa.Column[int]:
    return sa.Column(name, kind, nullable=False, server_default="0")
