"""The database: its tables, how it is opened, and migrations that run when it is."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from flythinker.disk import DiskFull, has_room
from flythinker.errors import FlyThinkerError

metadata = MetaData(
    naming_convention={"fk": "fk_%(table_name)s_%(column_0_name)s", "uq": "uq_%(table_name)s"}
)

users = Table(
    "users",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("tenant", String, nullable=False),
    # sorted by code point everywhere, and not as a locale thinks
    Column("name", String().with_variant(String(collation="C"), "postgresql"), nullable=False),
    # grows with every change of the user's documents
    Column("version", Integer, nullable=False, server_default="0"),
    # another one for somebody of the same name and number who came after this one was forgotten
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("tenant", "name"),
)

documents = Table(
    "documents",
    metadata,
    Column("number", Integer, primary_key=True),  # the order in which they were added
    Column("user", ForeignKey("users.number", ondelete="CASCADE"), nullable=False),
    Column("id", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("title", String, nullable=False),
    Column("date", String, nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("version", Integer, nullable=False, server_default="0"),  # the user's, when it changed
    # of a text that a model wrote for the user, who then changed it
    Column("edit_query", Text),
    Column("edit_written", Text),
    UniqueConstraint("user", "id"),
)

# what a user's documents are found by, as `storage.indexes` reads it, in parts of bounded size
index_parts = Table(
    "index_parts",
    metadata,
    Column("user", ForeignKey("users.number", ondelete="CASCADE"), primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

# what learning a user came to; a row stays as long as the user, so that no version comes again
adapters = Table(
    "adapters",
    metadata,
    Column("user", ForeignKey("users.number", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, nullable=False),  # grows with every change of the row
    # the user's version whose documents the last try read (-1: none), and the fingerprint of the
    # model that it was for (empty: for any, since the person had it forgotten)
    Column("read", Integer, nullable=False),
    Column("base", String, nullable=False),
    Column("about", Text),  # JSON of the adapter in use; null: there is none
    Column("last_try", Text),  # JSON
)

# an adapter's file, in parts of bounded size
adapter_parts = Table(
    "adapter_parts",
    metadata,
    Column("user", ForeignKey("users.number", ondelete="CASCADE"), primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("hash", String, nullable=False, unique=True),
    Column("tenant", String, nullable=False),
    Column("name", String, nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("revoked", DateTime(timezone=True)),
)

_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 0x666C79  # of PostgreSQL, so that two servers do not migrate at the same time


def open_database(url: str) -> Engine:
    """Connect to `sqlite:///FILE` or `postgresql://…`, and bring its tables up to date.

    Raises:
        DiskFull: SQLite has no room even for the files that it needs while it is open.
        FlyThinkerError: another kind of database, one that cannot be reached, or one that a later
            version of FlyThinker has changed.
    """
    parsed = parse_url(url)
    # parameters are texts, users and hashes of keys: they are not for logs
    engine = create_engine(parsed, hide_parameters=True, pool_pre_ping=True)
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    try:
        with writing(engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            _migrate(connection)
    except DBAPIError as error:
        raise FlyThinkerError(f"{parsed}: cannot open the database: {error.orig}") from error
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: all of it is on disk when this ends, or none of it.

    Raises:
        DiskFull: there is no room; nothing was written.
    """
    with (
        _explained_full_disk(engine.url),
        engine.execution_options(writes=True).begin() as connection,
    ):
        yield connection


def empty_log(engine: Engine) -> None:
    """Let deleted texts leave SQLite's write-ahead log as well, and give back its room.

    Raises:
        DiskFull: what is in the log has no room in the database.
    """
    if engine.dialect.name == "sqlite":
        with _explained_full_disk(engine.url), closing(engine.raw_connection()) as raw:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _explained_full_disk(url: URL) -> Iterator[None]:
    """Turn what a database raises when its disk is full into one line.

    Raises:
        DiskFull: in place of that.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        if not _says_full(error.orig if isinstance(error, DBAPIError) else error, url):
            raise
        raise DiskFull(
            f"{sqlite_file(url) or url}: the database's disk is full: make room"
        ) from error


def user_number(tenant: str, user: str) -> Select[tuple[int]]:
    """The query for a user's number."""
    return select(users.c.number).where(users.c.tenant == tenant, users.c.name == user)


def utc(time: Any) -> Any:
    """A time with its zone, which SQLite forgets."""
    return time.replace(tzinfo=UTC) if time and not time.tzinfo else time


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite database; `None` for another one, or one that a URI names."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return None
    return Path(url.database)


def _says_full(error: BaseException | None, url: URL) -> bool:
    if isinstance(error, sqlite3.Error):
        file = sqlite_file(url)
        name = getattr(error, "sqlite_errorname", "")
        # of its shared memory, and of a quota, it says "disk I/O error"
        unsaid = name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN"))
        return name == "SQLITE_FULL" or (unsaid and file is not None and not has_room(file.parent))
    return getattr(error, "sqlstate", None) == "53100"  # PostgreSQL's disk_full


def parse_url(url: str) -> URL:
    """A database's URL with its driver.

    Raises:
        FlyThinkerError: it is none, or of a kind that is not supported.
    """
    hint = "give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise FlyThinkerError(f"--database is no URL: {hint}") from error
    if parsed.drivername in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "postgresql":
        return parsed
    if parsed.get_backend_name() != "sqlite":
        raise FlyThinkerError(f"{parsed.drivername} databases are not supported: {hint}")
    if parsed.database in (None, "", ":memory:"):
        raise FlyThinkerError(f"{url}: a database in memory loses all documents: {hint}")
    return parsed


def _set_up_sqlite(connection: Any, _: Any) -> None:
    """Durable and concurrent: readers and one writer do not wait for each other."""
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    for pragma in (
        "busy_timeout = 30000",
        "journal_mode = WAL",
        "synchronous = FULL",  # what was committed survives a power cut as well
        "foreign_keys = ON",
        "secure_delete = ON",  # what is deleted is overwritten
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its lock at once: one that reads first and then finds it taken must fail."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise FlyThinkerError(
            f"{connection.engine.url}: the database was changed by another version of FlyThinker "
            f"({error}); use that version or a later one"
        ) from error
