"""`flythinker keys …` and `flythinker users …`: what the owner of a server does beside it.

Both work on the database itself, also while a server runs on it.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from flythinker.cli.options import Json
from flythinker.cli.reading import DayFirst, Senders, Strict, print_reading, reading_of
from flythinker.data.example import Document
from flythinker.errors import FlyThinkerError
from flythinker.serving.settings import DEFAULT_DATABASE, DEFAULT_TENANT

if TYPE_CHECKING:
    from flythinker.data.sources.reading import Reading
    from flythinker.serving.storage.store import Store

keys_app = typer.Typer(no_args_is_help=True, help="API keys of a server, each of one tenant.")
users_app = typer.Typer(no_args_is_help=True, help="Users of a server and their writings.")

Database = Annotated[
    str,
    typer.Option(
        envvar="FLYTHINKER_DATABASE", help="As for `serve`: sqlite:///… or postgresql://…"
    ),
]
Tenant = Annotated[str, typer.Option(help="Who the users belong to.")]


@keys_app.command(epilog="Example: flythinker keys create --tenant acme --name laptop")
def create(
    tenant: Tenant = DEFAULT_TENANT,
    name: Annotated[str, typer.Option(help="To tell it from others.")] = "",
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Make a key; it is shown this once."""
    key, secret = _open(database).create_key(tenant, name)
    if as_json:
        print(json.dumps({"id": key.id, "tenant": tenant, "name": name, "key": secret}))
        return
    print(secret)
    Console(stderr=True, style="dim").print(
        f"key {key.id} of tenant {tenant}; it cannot be shown again"
    )


@keys_app.command(name="list", epilog="Example: flythinker keys list --json")
def list_keys(database: Database = DEFAULT_DATABASE, as_json: Json = False) -> None:
    """Show all keys, without their secrets."""
    keys = _open(database).api_keys()
    if as_json:
        print(json.dumps({"keys": [asdict(key) for key in keys]}, default=str))
        return
    table = Table("id", "tenant", "name", "created", "revoked")
    for key in keys:
        revoked = f"{key.revoked:%Y-%m-%d %H:%M}" if key.revoked else ""
        table.add_row(key.id, key.tenant, key.name, f"{key.created:%Y-%m-%d %H:%M}", revoked)
    Console().print(table)


@keys_app.command(epilog="Example: flythinker keys revoke 1f0c22ab")
def revoke(
    key: Annotated[str, typer.Argument(help="The id that `list` shows.")],
    database: Database = DEFAULT_DATABASE,
) -> None:
    """End a key at once, also on a running server."""
    _open(database).revoke_key(key)
    print(f"key {key} is revoked")


@users_app.command(
    name="import", epilog="Example: flythinker users import my-texts/ --user me --tenant acme"
)
def import_users(
    path: Annotated[Path, typer.Argument(help="Past texts: a folder or a file (docs/import.md).")],
    user: Annotated[
        str | None, typer.Option(help="Whose; default: each sub-folder is a user's.")
    ] = None,
    tenant: Tenant = DEFAULT_TENANT,
    most: Annotated[
        int, typer.Option("--max-documents-per-user", help="As for `serve`.", min=1)
    ] = 10_000,
    database: Database = DEFAULT_DATABASE,
    strict: Strict = False,
    day_first: DayFirst = None,
    senders: Senders = None,
) -> None:
    """Store users' past texts; a text that is there already stays one."""
    from flythinker.serving.errors import TooManyDocuments

    reading = reading_of(strict, day_first, senders)
    writings = _writings(path, user, reading)  # first of all: a wrong path makes no database
    print_reading(reading)
    store = _open(database)
    for name, documents in writings.items():
        try:
            stored = store.add(tenant, name, documents, most)
        except TooManyDocuments as error:
            raise FlyThinkerError(f"user '{name}': {error}") from error
        store.index_soon(tenant, name)
        print(f"{name}: {len(stored)} texts")
    store.close()  # once all is indexed


def _open(database: str) -> "Store":
    from flythinker.serving.storage.store import Store

    return Store.open(database)


def _writings(path: Path, user: str | None, reading: "Reading") -> dict[str, list[Document]]:
    """The texts of each user, as ids and texts that the server's routes take as well."""
    import re

    from flythinker.data.folder import read_users
    from flythinker.serving.api.fields import MAX_USER_CHARS, USER_PATTERN

    if user is None and not path.is_dir():
        raise typer.BadParameter(f"--user says whose {path} is; only a folder may do without")
    writings = read_users(path, user, reading)
    for name, documents in writings.items():
        if not re.match(USER_PATTERN, name) or len(name) > MAX_USER_CHARS:
            raise FlyThinkerError(
                f"user '{name}': an id has up to {MAX_USER_CHARS} characters, without '/'"
            )
        if not documents:
            raise FlyThinkerError(f"user '{name}': there is no text in {path}")
        if any("\0" in document.text + document.title for document in documents):
            raise FlyThinkerError(f"user '{name}': a text with a NUL character cannot be stored")
    return writings
