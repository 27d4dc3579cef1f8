"""The incremental index gives bm25s's scores, whatever was added when and whatever is left out."""

import random

import bm25s
import numpy as np
import pytest

from flythinker.data.document import Document
from flythinker.data.finder import searched_text
from flythinker.data.retrieval import retrieve
from flythinker.data.term_index import Postings, TermIndex
from flythinker.data.words import search_terms
from flythinker.data.writings import Selection, Writings


def reference(texts: list[list[str]], query: list[str]) -> np.ndarray:
    """bm25s's own scores of texts given by their terms."""
    index = bm25s.BM25()
    index.index(texts, show_progress=False)
    known = [term for term in query if term in index.vocab_dict]
    return index.get_scores(known) if known else np.zeros(len(texts), dtype=np.float32)


def test_any_part_of_the_texts_scores_as_if_there_were_no_others():
    draw = random.Random(0)
    words = [f"w{int(draw.expovariate(0.05))}" for _ in range(5_000)]
    texts = [draw.choices(words, k=draw.randint(1, 60)) for _ in range(300)]
    texts[7] = texts[3]  # a tie
    index = TermIndex()
    for number, text in enumerate(texts):
        index.add(text)
        if number % 60 != 59:
            continue
        for _ in range(20):
            query = [*draw.choices(words, k=draw.randint(1, 30)), "unknown"]
            inside = np.array([draw.random() < 0.7 for _ in range(len(index))])
            inside[0] = True
            kept = [texts[place] for place in inside.nonzero()[0]]
            assert np.array_equal(index.scores(query, inside)[inside], reference(kept, query))
            assert not index.scores(query, inside)[~inside].any()
        # what goes on from a packed part is the same, and what was left out is gone
        kept = np.array([draw.random() < 0.9 for _ in range(len(index))])
        packed = Postings.from_bytes(index.packed(kept).to_bytes())
        texts_kept = [texts[place] for place in kept.nonzero()[0]]
        again = TermIndex(packed)
        again.add(["w1", "w1", "new"])
        every = np.ones(len(again), dtype=bool)
        query = ["w1", "new", *draw.choices(words, k=9)]
        expected = reference([*texts_kept, ["w1", "w1", "new"]], query)
        assert np.array_equal(again.scores(query, every), expected)
        index = TermIndex(index.packed(np.ones(len(index), dtype=bool)))


def test_every_term_is_found_among_those_that_are_packed():
    words = ["a", "ab", "abc", "b", "z", "ü", "ß", "海", "大海", "😀", "\U0002ffff", "\uffff"]
    index = TermIndex()
    for word in words:
        index.add([word])
    again = TermIndex(Postings.from_bytes(index.packed(np.ones(12, dtype=bool)).to_bytes()))
    every = np.ones(12, dtype=bool)
    for place, word in enumerate(words):
        assert again.scores([word], every).nonzero()[0].tolist() == [place]
    for unknown in ("", "aa", "abcd", "zz", "大", "\U0003ffff"):
        assert not again.scores([unknown], every).any()


def test_real_texts_score_as_with_bm25s_to_the_bit(sotu):
    for example in sotu["test"][::60]:
        texts = [list(search_terms(searched_text(one), "en")) for one in example.history]
        expected = reference(texts, list(search_terms(example.query, "en")))
        assert isinstance(example.history, Selection)
        assert np.array_equal(example.history.bm25(example.query), expected)


def test_texts_without_a_term_score_nothing():
    index = TermIndex()
    index.add([])
    assert index.scores(["a"], np.array([True])).tolist() == [0.0]
    assert index.scores(["a"], np.array([False])).tolist() == [0.0]


@pytest.mark.parametrize("method", ["bm25", "recent", "dense"])
def test_a_selection_is_searched_as_the_tuple_of_its_texts(method):
    texts = ["Der Fluss führte viel Wasser zu Tal.", "The navy needs ships.", "ok", "Ships sail."]
    documents = [Document(text, "", f"202{n}") for n, text in enumerate(texts)]
    writings = Writings(documents[:2])
    assert retrieve(Selection(writings, range(2)), "Flüsse", 1, method)
    for document in documents[2:]:
        writings.append(document)
    for places in (range(3), range(4), (1, 3), (0, 2, 3), (3, 3, 0)):
        selection = Selection(writings, places)
        whole = tuple(documents[place] for place in places)
        for query in ("Flüsse und Wasser", "a ship", "ok", "zzz"):
            for k in (1, 4):
                assert retrieve(selection, query, k, method) == retrieve(whole, query, k, method)
