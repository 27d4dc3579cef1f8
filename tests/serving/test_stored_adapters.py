"""What was learned of users is stored once, whole and for their tenant only, and goes with them."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from flythinker.adapter import About, Adapter, adapter_bytes
from flythinker.data.example import Document
from flythinker.disk import DiskFull
from flythinker.serving.storage.adapters import Candidate, Material
from flythinker.serving.storage.reserve import RESERVE_BYTES
from flythinker.serving.storage.store import Store
from small_disk import fill

SEA = Document("The sea was calm.", "Sea", "2024-05")
SHIP = Document("Ships sail far.", "Ships", "2023")
BREAD = Document("We ate bread.")
BASE = "0123456789abcdef"
ABOUT = About(
    user="ann", part="reasoner", base=BASE, scale=2.0, texts=5, words=90, held_out=5, before=3.0,
    after=2.5, gain=-0.5, low=-0.6, high=-0.4, seconds=1.0, made="2026-01-01T00:00:00+00:00",
)  # fmt: skip


def adapter(seed: int = 0, base: str = BASE, size: int = 30_000) -> Adapter:
    """One of 32 bytes times `size`, so that it is kept in parts."""
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(shape, generator=draw).bfloat16() for shape in ((8, size), (size, 8)))
    return Adapter(replace(ABOUT, base=base), {"layer": (a, b)})


def add(store: Store, *documents: Document, tenant="acme", user="ann"):
    return store.add(tenant, user, documents, 100)


def candidates(store: Store, base: str = BASE) -> list[Candidate]:
    return [one for one in store.candidates(base) if (one.tenant, one.user) == ("acme", "ann")]


def material(store: Store) -> Material:
    found = store.material("acme", "ann")
    assert found is not None
    return found


def is_stored(store: Store, wanted: Adapter) -> bool:
    found = store.adapter("acme", "ann")
    return found is not None and adapter_bytes(found[1]) == adapter_bytes(wanted)


def test_an_adapter_comes_back_as_it_was_and_a_new_one_takes_its_place(store):
    add(store, SEA)
    assert store.adapter("acme", "ann") is None
    keys = []
    for seed in (0, 1):
        assert store.keep_adapter(material(store), adapter(seed))
        assert is_stored(store, adapter(seed))
        keys.append(store.adapter_key("acme", "ann"))
        assert store.adapter("acme", "ann")[0] == keys[-1]
    assert [key.version for key in keys] == [1, 2]
    record = store.adapter_record("acme", "ann")
    assert (record.about, record.last_try.why, record.last_try.about) == (ABOUT, "", ABOUT)
    assert store.adapter_count() == 1


def test_a_tenant_sees_nothing_of_another(store):
    add(store, SEA)
    add(store, SEA, tenant="other")
    assert store.keep_adapter(material(store), adapter())
    for ask in (store.adapter, store.adapter_key, store.adapter_record):
        assert ask("other", "ann") is None
        assert ask("acme", "ann") is not None
    assert store.forget_adapter("other", "ann")
    assert is_stored(store, adapter())


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_forgotten_while_it_is_learned_does_not_come_back(store, kept):
    def keep(learned: Material) -> bool:
        if kept:
            return store.keep_adapter(learned, adapter())
        return store.note_failure(learned, BASE, "no gain", ABOUT)

    (sea, _) = add(store, SEA, SHIP)
    before = material(store)
    store.delete("acme", "ann", sea.id)
    assert not keep(before)
    before = material(store)
    store.forget_adapter("acme", "ann")
    assert not keep(before)
    before = material(store)
    store.forget("acme", "ann")
    assert not keep(before)
    add(store, SEA, SHIP)  # somebody of the same name and number
    assert not keep(before)
    assert store.adapter_record("acme", "ann") is None
    before = material(store)
    add(store, BREAD)  # which is no reason to lose what was learned
    assert keep(before)


def test_an_adapter_goes_with_its_user_and_with_any_text_that_it_learned_from(store):
    sea, _ = add(store, SEA, SHIP)
    assert store.keep_adapter(material(store), adapter())
    assert not store.delete("acme", "ann", "doc-none")
    assert is_stored(store, adapter())
    assert store.delete("acme", "ann", sea.id)
    assert store.adapter("acme", "ann") is None
    assert store.adapter_record("acme", "ann") is None
    assert store.new_words(candidates(store)[0], 100) == 3  # the rest is to be learned anew
    assert store.keep_adapter(material(store), adapter(1))
    assert store.adapter_key("acme", "ann").version == 3  # never one that there was before
    store.forget("acme", "ann")
    assert store.adapter("acme", "ann") is None
    assert store.adapter_count() == 0


def test_new_words_are_those_that_no_try_has_read(store):
    words = partial(store.new_words, enough=100)
    add(store, SEA, SHIP)
    assert words(candidates(store)[0]) == 7
    assert store.new_words(candidates(store)[0], 1) in (3, 4)  # enough is enough
    assert store.keep_adapter(material(store), adapter())
    assert candidates(store) == []
    add(store, SEA, SHIP)
    assert sum(map(words, candidates(store))) == 0  # the same texts again
    add(store, BREAD)
    assert words(candidates(store)[0]) == 3
    assert words(candidates(store, "another model")[0]) == 10


def test_nothing_learned_is_remembered_with_the_older_adapter_if_it_is_of_the_same_model(store):
    add(store, SEA)
    assert store.note_failure(material(store), BASE, "too little")
    record = store.adapter_record("acme", "ann")
    assert (record.about, record.last_try.why) == (None, "too little")
    assert candidates(store) == []
    assert store.keep_adapter(material(store), adapter())
    assert store.note_failure(material(store), BASE, "no gain", ABOUT)
    assert is_stored(store, adapter())
    assert store.adapter_record("acme", "ann").last_try.why == "no gain"
    assert store.note_failure(material(store), "new model", "no gain", ABOUT)
    assert store.adapter("acme", "ann") is None
    assert store.adapter_record("acme", "ann").about is None


def test_who_forgets_is_not_learned_again_before_there_are_new_texts(store):
    sea, _ = add(store, SEA, SHIP)
    assert store.keep_adapter(material(store), adapter())
    assert store.forget_adapter("acme", "ann")
    assert not store.forget_adapter("acme", "nobody")
    assert store.adapter("acme", "ann") is None
    assert store.adapter_record("acme", "ann") is None
    store.delete("acme", "ann", sea.id)
    for base in (BASE, "another model"):
        assert sum(store.new_words(one, 100) for one in candidates(store, base)) == 0
    add(store, BREAD)
    assert store.new_words(candidates(store)[0], 100) == 3


@pytest.mark.parametrize("how", ["forget", "forget_adapter"])
def test_nothing_of_a_forgotten_adapter_is_in_the_files(tmp_path, how):
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    add(store, SEA)
    store.keep_adapter(material(store), adapter())
    piece = adapter_bytes(adapter())[100_000:100_050]

    def there() -> bool:
        return any(piece in file.read_bytes() for file in tmp_path.iterdir())

    assert there()
    getattr(store, how)("acme", "ann")
    assert not there()
    store.close()


@pytest.mark.parametrize("how", ["forget", "forget_adapter", "delete"])
def test_it_is_forgotten_on_a_full_disk_also_if_it_is_larger_than_the_reserve(disk, how):
    folder = disk(96)
    store = Store.open(f"sqlite:///{folder}/store.db")
    (sea,) = add(store, SEA)
    large = adapter(size=2 * RESERVE_BYTES // 32)
    assert store.keep_adapter(material(store), large)
    fill(folder)
    with pytest.raises(DiskFull):
        store.keep_adapter(material(store), adapter())
    assert is_stored(store, large)
    assert getattr(store, how)("acme", "ann", *([sea.id] if how == "delete" else []))
    assert store.adapter("acme", "ann") is None
    assert not store.adapter_count()
    piece = adapter_bytes(large)[100_000:100_050]
    store.close()
    assert not any(piece in file.read_bytes() for file in folder.glob("store.db*"))
