"""`flythinker keys`: made once, shown once, ended at once."""

import json

import pytest
from typer.testing import CliRunner

from flythinker.cli.main import app
from flythinker.errors import FlyThinkerError
from flythinker.serving.storage.store import Store


@pytest.fixture
def keys(database):
    """`keys(…)` runs `flythinker keys …` on an empty database."""

    def run(*arguments: str) -> str:
        command = ["keys", *arguments, "--database", database]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_a_key_is_made_listed_and_revoked(keys, database):
    made = json.loads(keys("create", "--tenant", "acme", "--name", "laptop", "--json"))
    with_store(database, lambda store: store.tenant_of(made["key"]) == "acme")
    (listed,) = json.loads(keys("list", "--json"))["keys"]
    assert (listed["id"], listed["tenant"], listed["revoked"]) == (made["id"], "acme", None)
    assert made["key"] not in keys("list", "--json") + keys("list")
    keys("revoke", made["id"])
    with_store(database, lambda store: store.tenant_of(made["key"]) is None)
    assert json.loads(keys("list", "--json"))["keys"][0]["revoked"]


def test_the_plain_output_is_the_key_alone(keys, database):
    secret = keys("create").strip()
    with_store(database, lambda store: store.tenant_of(secret) == "default")


def test_an_unknown_key_cannot_be_revoked(keys):
    with pytest.raises(FlyThinkerError, match="no key 'xyz'"):
        keys("revoke", "xyz")


def with_store(database: str, holds) -> None:
    store = Store.open(database)
    assert holds(store)
    store.close()
