"""The first tables: users, their documents, API keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Do it."""
    op.create_table(
        "users",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column(
            "name",
            sa.String().with_variant(sa.String(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("tenant", "name", name="uq_users"),
    )
    op.create_table(
        "documents",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("user", sa.Integer, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("date", sa.String, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.ForeignKeyConstraint(
            ["user"], ["users.number"], ondelete="CASCADE", name="fk_documents_user"
        ),
        sa.UniqueConstraint("user", "id", name="uq_documents"),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash", name="uq_keys"),
    )


def downgrade() -> None:
    """Undo it."""
    for name in ("keys", "documents", "users"):
        op.drop_table(name)
