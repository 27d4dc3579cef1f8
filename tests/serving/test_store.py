"""Writings are stored once, whole and for their tenant only, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from flythinker.data.example import Document
from flythinker.errors import FlyThinkerError
from flythinker.serving.errors import TooManyDocuments
from flythinker.serving.storage import database as database_module
from flythinker.serving.storage.database import metadata, open_database, writing
from flythinker.serving.storage.store import Store

SEA = Document("The sea was calm.", "Sea", "2024-05")
SHIP = Document("Ships sail far.", "Ships", "2023")
BREAD = Document("We ate bread.")
MANY = 100


def add(store: Store, *documents: Document, tenant="acme", user="ann", most=MANY):
    return store.add(tenant, user, documents, most)


def texts(store: Store, tenant="acme", user="ann") -> list[str]:
    return [one.document.text for one in store.all(tenant, user)]


def test_documents_come_back_as_they_were(store):
    stored = add(store, SEA, SHIP)
    assert [one.document for one in stored] == [SEA, SHIP]
    assert store.get("acme", "ann", stored[1].id) == stored[1]
    assert stored[0].created.tzinfo is not None


def test_a_history_is_oldest_first_and_begins_with_what_has_no_date(store):
    add(store, SEA, SHIP, BREAD)
    assert store.history("acme", "ann") == [BREAD, SHIP, SEA]


def test_the_same_text_is_one_document_with_its_newest_title(store):
    first = add(store, SEA, BREAD)
    again = add(store, Document(f"  {SEA.text}\n", "The sea", "2025"), BREAD, BREAD)
    assert [one.id for one in again] == [one.id for one in first]
    assert store.history("acme", "ann") == [BREAD, Document(SEA.text, "The sea", "2025")]


def test_pages_go_through_all_documents_in_the_order_they_were_added(store):
    add(store, *(Document(f"Text {number}.") for number in range(7)))
    seen, after = [], None
    while True:
        page = store.page("acme", "ann", after, limit=3)
        seen += [one.document.text for one in page.documents]
        after = page.documents[-1].id
        if not page.has_more:
            break
    assert seen == texts(store) == [f"Text {number}." for number in range(7)]


def test_more_than_a_batch_can_be_read(store):
    add(store, *(Document(f"Text {number}.") for number in range(250)), most=250)
    assert len(texts(store)) == 250


def test_deleting_and_forgetting(store):
    sea, ship = add(store, SEA, SHIP)
    assert store.delete("acme", "ann", sea.id)
    assert not store.delete("acme", "ann", sea.id)
    assert texts(store) == [SHIP.text]
    assert store.forget("acme", "ann")
    assert not store.forget("acme", "ann")
    assert store.history("acme", "ann") is None
    assert store.page("acme", "ann") is None
    assert store.get("acme", "ann", ship.id) is None


def test_a_tenant_sees_nothing_of_another(store):
    (sea,) = add(store, SEA)
    add(store, BREAD, tenant="other")
    assert texts(store, "other") == [BREAD.text]
    assert store.get("other", "ann", sea.id) is None
    assert store.page("other", "ann", after=sea.id) is None
    assert not store.delete("other", "ann", sea.id)
    assert store.forget("other", "ann")
    assert texts(store) == [SEA.text]
    assert store.users("other") == []


def test_users_are_listed_by_name_page_by_page(store):
    for name in ("bob", "Ann", "zoë", "a b"):
        add(store, SEA, user=name)
    assert store.users("acme", limit=3) == ["Ann", "a b", "bob"]
    assert store.users("acme", after="bob") == ["zoë"]


def test_too_many_documents_store_nothing(store):
    add(store, SEA, most=2)
    with pytest.raises(TooManyDocuments):
        add(store, SHIP, BREAD, most=2)
    assert texts(store) == [SEA.text]
    add(store, SEA, SHIP, most=2)
    with pytest.raises(TooManyDocuments):
        add(store, SEA, SHIP, BREAD, user="new", most=2)
    assert not store.knows("acme", "new")


def test_adding_at_the_same_time_keeps_to_the_limit_and_adds_each_text_once(store):
    def attempt(number: int) -> bool:
        try:
            add(store, Document(f"Text {number // 2}."), most=5)
        except TooManyDocuments:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(attempt, range(20)))
    assert len(set(texts(store))) == len(texts(store)) == 5
    assert sum(done) >= 5


def test_a_key_is_of_its_tenant_until_it_is_revoked(store):
    assert not store.has_keys()
    key, secret = store.create_key("acme", "laptop")
    other, _ = store.create_key("other")
    assert store.has_keys()
    assert store.tenant_of(secret) == "acme"
    assert store.tenant_of(secret[:-1]) is None
    assert [one.id for one in store.api_keys()] == [key.id, other.id]
    store.revoke_key(key.id)
    store.revoke_key(key.id)
    assert store.tenant_of(secret) is None
    store.revoke_key(other.id)
    assert not store.has_keys()
    with pytest.raises(FlyThinkerError, match="no key 'xyz'"):
        store.revoke_key("xyz")


def test_migrations_make_the_tables_that_the_code_expects(database):
    engine = open_database(database)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_migrations_go_back(database):
    engine = open_database(database)
    config = Config()
    config.set_main_option(
        "script_location", str(Path(database_module.__file__).parent / "migrations")
    )
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_servers_that_start_at_the_same_time_migrate_once(database):
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(Store.open, [database] * 4))
    add(stores[0], SEA)
    assert [texts(one) for one in stores] == [[SEA.text]] * 4
    for one in stores:
        one.close()


def test_a_database_of_a_later_version_is_refused(database):
    engine = open_database(database)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(FlyThinkerError, match="another version of FlyThinker"):
        Store.open(database)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("writings.db", "no URL"),
        ("mysql://localhost/x", "not supported"),
        ("sqlite://", "loses all"),
        ("sqlite:////no/such/folder/x.db", "cannot open"),
        ("postgresql://ann:hush@127.0.0.1:1/x", "cannot open"),
    ],
)
def test_what_cannot_be_opened_is_said_without_the_password(url, message):
    with pytest.raises(FlyThinkerError, match=message) as caught:
        Store.open(url)
    assert "hush" not in str(caught.value)


def test_secrets_and_forgotten_texts_are_nowhere_in_the_files(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    read = partial(_bytes_in, tmp_path)
    _, secret = store.create_key("acme")
    add(store, SEA)
    assert SEA.text in read()
    store.forget("acme", "ann")
    assert SEA.text not in read()
    assert secret not in read()
    store.close()


def _bytes_in(folder: Path) -> str:
    return "".join(file.read_bytes().decode("latin-1") for file in folder.iterdir())
