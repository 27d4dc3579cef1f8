"""Alembic's environment: migrations run in the transaction that `open_database` has begun."""

from alembic import context

from flythinker.serving.storage.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
