"""The store finds past texts as training does, by an index that follows every change."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from flythinker.data.example import Document
from flythinker.data.retrieval import retrieve
from flythinker.serving.storage import indexes
from flythinker.serving.storage.database import index_parts, writing
from flythinker.serving.storage.store import Store
from flythinker.serving.storage.user_index import UserIndex

MANY = 10_000
QUERIES = ("a ship at sea", "Flüsse und Wasser", "navy sailors", "ok", "zzz", "the warm rain")


def documents(count: int, seed: int = 0) -> list[Document]:
    """Texts in two languages, some short, some alike, some of one date, some without."""
    draw = random.Random(seed)
    english = ["the", "sea", "and", "ships", "of", "navy", "sailors", "sail", "with", "warm"]
    german = ["der", "Fluss", "führte", "viel", "Wasser", "und", "die", "Flüsse", "am", "Tal"]
    texts = []
    for number in range(count):
        words = draw.choices(draw.choice([english, german]), k=draw.choice([2, 12, 30]))
        date = draw.choice(["", "2023", f"2024-0{1 + number % 9}"])
        texts.append(Document(" ".join([*words, f"n{number}"]), draw.choice(["", "Rain"]), date))
    return texts


def same_as_training(store: Store, user="ann", tenant="acme") -> bool:
    """Whether each query finds what training finds in the same texts, in the same order."""
    history, past = store.history(tenant, user), store.past(tenant, user)
    assert list(past) == history
    for query in QUERIES:
        for k in (1, 5, len(history)):
            assert retrieve(past, query, k, "bm25") == retrieve(history, query, k, "bm25")
    return True


def kept_parts(store: Store) -> int:
    with store._engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(index_parts))


def test_it_finds_what_training_finds_after_every_change(store):
    stored = store.add("acme", "ann", documents(40), MANY)
    assert same_as_training(store)
    store.add("acme", "ann", documents(60)[40:], MANY)
    assert same_as_training(store)
    for one in (stored[0], stored[7], stored[39]):
        store.delete("acme", "ann", one.id)
        assert same_as_training(store)
    # the same text with another title is found by that, and its date gives it another place
    text = stored[3].document.text
    store.add("acme", "ann", [Document(text, "Sailors", "1999")], MANY)
    assert same_as_training(store)
    assert store.past("acme", "ann")[-1] == store.history("acme", "ann")[-1]


def test_nobody_finds_what_is_not_theirs(store):
    store.add("acme", "ann", documents(5), MANY)
    store.add("other", "ann", documents(3, seed=1), MANY)
    assert len(store.past("acme", "ann")) == 5
    assert len(store.past("other", "ann")) == 3
    assert store.past("acme", "bob") is None
    past = store.past("acme", "ann")
    assert store.forget("acme", "ann")
    assert store.past("acme", "ann") is None
    # SQLite gives the numbers of whom it forgot to the next
    store.add("acme", "eve", documents(5, seed=2), MANY)
    with pytest.raises(indexes.DocumentGone):
        past[0]
    store.add("acme", "ann", documents(2, seed=3), MANY)
    assert same_as_training(store)


def test_a_server_that_starts_anew_reads_the_index_and_no_texts(database, monkeypatch):
    monkeypatch.setattr(indexes, "PART_BYTES", 3_000)
    first = Store.open(database)
    first.add("acme", "ann", documents(200), MANY)
    first.past("acme", "ann")
    first.close()

    again = Store.open(database)
    assert kept_parts(again) > 1
    indexed = []
    apply = UserIndex.apply

    def counted(self, owner, changed):
        changed = list(changed)
        indexed.append(len(changed))
        apply(self, owner, changed)

    monkeypatch.setattr(UserIndex, "apply", counted)
    assert same_as_training(again)
    assert indexed == []
    again.add("acme", "ann", documents(203)[200:], MANY)
    assert same_as_training(again)
    assert indexed == [3]
    again.close()


def test_the_kept_index_leaves_with_what_it_was_made_of(store):
    stored = store.add("acme", "ann", documents(80), MANY)
    store.past("acme", "ann")
    store._saver.submit(lambda: None).result()
    assert kept_parts(store) == 1
    store.delete("acme", "ann", stored[0].id)
    assert kept_parts(store) == 0
    store.past("acme", "ann")
    assert same_as_training(store)
    store.add("acme", "ann", documents(200, seed=5), MANY)
    store.past("acme", "ann")
    store._saver.submit(lambda: None).result()
    assert kept_parts(store) == 1
    store.forget("acme", "ann")
    assert kept_parts(store) == 0


def test_an_index_of_other_code_is_made_anew(store, monkeypatch):
    store.add("acme", "ann", documents(80), MANY)
    store.past("acme", "ann")
    store._saver.submit(lambda: None).result()
    monkeypatch.setattr("flythinker.serving.storage.user_index.analysis", lambda: "other")
    store._indexes.clear()
    assert same_as_training(store)
    monkeypatch.undo()
    with writing(store._engine) as connection:  # as an earlier version kept it
        connection.execute(update(index_parts).values(data=b"PK\3\4"))
    store._indexes.clear()
    assert same_as_training(store)


def test_several_processes_change_one_database(database):
    here, there = Store.open(database), Store.open(database)
    here.add("acme", "ann", documents(30), MANY)
    assert same_as_training(here)
    assert same_as_training(there)
    stored = there.add("acme", "ann", documents(35)[30:], MANY)
    assert same_as_training(here)
    here.delete("acme", "ann", stored[1].id)
    assert same_as_training(there)
    there.forget("acme", "ann")
    there.add("acme", "ann", documents(4, seed=9), MANY)
    assert same_as_training(here)
    here.close()
    there.close()


def test_many_threads_add_and_find(store):
    texts = documents(120)

    def work(number: int) -> None:
        store.add("acme", "ann", texts[number * 10 : number * 10 + 10], MANY)
        store.past("acme", "ann").bm25("ships at sea")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(12)))
    assert same_as_training(store)


def test_no_request_waits_while_another_users_texts_are_indexed(store, monkeypatch):
    store.add("acme", "ann", documents(20), MANY)
    store.add("acme", "bob", documents(20), MANY)
    begun, may_end = threading.Event(), threading.Event()
    apply = UserIndex.apply

    def slow(self, owner, changed):
        changed = list(changed)
        if threading.current_thread().name == "slow":
            begun.set()
            assert may_end.wait(20)
        apply(self, owner, changed)

    monkeypatch.setattr(UserIndex, "apply", slow)
    indexing = threading.Thread(target=store.past, args=("acme", "ann"), name="slow")
    indexing.start()
    assert begun.wait(20)
    past = store.past("acme", "bob")
    assert past.bm25("ships").any()
    store.add("acme", "bob", documents(22)[20:], MANY)
    assert len(store.past("acme", "bob")) == 22
    may_end.set()
    indexing.join()


def test_ten_thousand_documents_are_found_in_and_added_to_in_time(sqlite):
    """Processor time of this thread: the machine may be busy with other things."""
    texts = documents(10_000)
    for start in range(0, 10_000, 1_000):
        sqlite.add("acme", "ann", texts[start : start + 1_000], 20_000)
    sqlite.past("acme", "ann")
    sqlite._saver.submit(lambda: None).result()

    def milliseconds(work) -> float:
        begun = time.thread_time()
        work()
        return 1000 * (time.thread_time() - begun)

    def find() -> None:
        assert retrieve(sqlite.past("acme", "ann"), "ships in warm rain", 4, "bm25")

    def find_anew() -> None:
        sqlite._indexes.clear()
        find()

    started_anew = min(milliseconds(find_anew) for _ in range(3))
    found = min(milliseconds(find) for _ in range(3))
    taken = []
    for number in range(3):
        sqlite.add("acme", "ann", [Document(f"New ships {number}.", "", "2024-05")], 20_000)
        taken.append(milliseconds(find))
    assert started_anew < 50
    assert found < 50
    assert min(taken) < 50
