import time

import pytest

from flythinker.data.encoder import minilm_folder
from flythinker.data.example import Document
from flythinker.data.retrieval import retrieve
from flythinker.errors import FlyThinkerError

HISTORY = [
    Document("The cat slept on the warm sofa all day.", "Pets", "2020"),
    Document("Treaties with foreign nations must be honoured.", "Diplomacy", "2021"),
    Document("Our navy needs new ships and trained sailors.", "Defence", "2022"),
    Document("The cat slept on the warm sofa all day.", "Pets", "2023"),
]


def dates(query: str, k: int, method: str) -> list[str]:
    return [document.date for document in retrieve(HISTORY, query, k, method)]


@pytest.mark.parametrize("method", ["bm25", "recent", "dense"])
def test_nothing_to_retrieve(method):
    assert retrieve([], "cats", 3, method) == []
    assert retrieve(HISTORY, "cats", 0, method) == []


def test_recent_takes_the_newest_first():
    assert dates("cats", 2, "recent") == ["2023", "2022"]


def test_bm25_matches_stems_and_breaks_ties_by_recency():
    assert dates("a treaty with a nation", 1, "bm25") == ["2021"]
    assert dates("sleeping cats", 2, "bm25") == ["2023", "2020"]


def test_bm25_without_a_common_word_falls_back_to_recency():
    assert dates("zzz", 4, "bm25") == ["2023", "2022", "2021", "2020"]
    assert dates("", 1, "bm25") == ["2023"]


def test_titles_are_searched_too():
    assert dates("diplomacy", 1, "bm25") == ["2021"]


def test_dense_finds_the_meaning_without_a_common_word():
    assert dates("a kitten naps", 2, "dense") == ["2023", "2020"]
    assert dates("warships and crews at sea", 1, "dense") == ["2022"]


def test_dense_takes_an_encoder_by_name():
    found = retrieve(HISTORY, "a kitten naps", 2, "dense", str(minilm_folder()))
    assert [document.date for document in found] == ["2023", "2020"]
    with pytest.raises(FlyThinkerError, match=r"prompt\.encoder: 'nowhere/e5' cannot be loaded: "):
        retrieve(HISTORY, "cat", 1, "dense", "nowhere/e5")


def test_k_beyond_the_history_returns_all():
    assert len(retrieve(HISTORY, "cat", 99, "bm25")) == 4


def test_an_unknown_method_is_named():
    with pytest.raises(
        FlyThinkerError, match="unknown retrieval 'bm52'; use bm25, recent or dense"
    ):
        retrieve(HISTORY, "cat", 1, "bm52")


def test_long_histories_are_indexed_once(sotu):
    examples = [e for e in sotu["test"] if e.user_id == "Theodore Roosevelt"][:50]
    retrieve(examples[0].history, examples[0].query, 4, "bm25")

    start = time.perf_counter()
    for example in examples:
        retrieve(example.history, example.query, 4, "bm25")

    assert (time.perf_counter() - start) / len(examples) < 0.03  # indexing anew takes 0.1 s
