"""Past texts cut to the tokens that a prompt has for them."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np

from flythinker.data.document import Document
from flythinker.data.language import language_of
from flythinker.data.sentences import sentence_ends
from flythinker.data.term_index import TermIndex
from flythinker.data.words import search_terms

PROFILE_HEADER = "Texts I wrote before, the most relevant first:"

Cut = Literal["relevant", "beginning"]
Tokenize = Callable[[str], Sequence[int]]

_GAP = " … "
"""Stands where sentences were left out."""


def fit_profile(
    documents: Sequence[Document],
    budget: int,
    tokenize: Tokenize,
    query: str,
    cut: Cut | None = None,
) -> tuple[Document, ...]:
    """Keep the most relevant documents that fit; cut the first that does not, drop the rest.

    Args:
        documents: the most relevant first.
        budget: tokens for all of them, with the line above them.
        tokenize: text → its tokens.
        query: what they are to be relevant for.
        cut: of the document that does not fit, keep its sentences most `relevant` to the query,
            in their order; or its `beginning` (default), which is nothing if the first sentence
            does not fit.
    """

    def size(document: Document) -> int:
        return len(tokenize(render_document(document)))

    kept: list[Document] = []
    left = budget - len(tokenize(PROFILE_HEADER))
    for document in documents:
        if (tokens := size(document)) > left:
            shorten = _most_relevant if cut == "relevant" else _beginning
            if (shortened := shorten(document, left, size, query)) is not None:
                kept.append(shortened)
            break
        kept.append(document)
        left -= tokens
    return tuple(kept)


def render_document(document: Document) -> str:
    """A document as it stands in a prompt, below a line with its title and date."""
    caption = f"{document.title} ({document.date})" if document.date else document.title
    return "\n\n" + (f"# {caption.strip()}\n" if caption else "") + document.text.strip()


def cut_to_tokens(text: str, budget: int, tokenize: Tokenize) -> str:
    """The longest beginning of `text` of at most `budget` tokens that ends with a sentence.

    Where not even one sentence fits it ends with a word, and failing that with a character.
    """
    if len(tokenize(text)) <= budget:
        return text

    def fits(beginning: str) -> bool:
        return len(tokenize(beginning)) <= budget

    return _longest_beginning(text, sentence_ends(text), fits) or _cut_sentence(text, fits)


def _beginning(
    document: Document, left: int, size: Callable[[Document], int], query: str
) -> Document | None:
    """The first sentences that fit; None if the first one does not."""
    cuts = [replace(document, text=document.text[:n]) for n in sentence_ends(document.text)]
    fitting = bisect_right(cuts, left, key=size)
    return cuts[fitting - 1] if fitting else None


def _most_relevant(
    document: Document, left: int, size: Callable[[Document], int], query: str
) -> Document | None:
    """The sentences most relevant to the query that fit, in their order.

    Of the best one a part, if not even that fits; None if there is not even room for a letter.
    """
    text = document.text
    sentences = [text[a:b].strip() for a, b in pairwise([0, *sentence_ends(text)])]
    sentences = [sentence for sentence in sentences if sentence]

    def with_text(text: str) -> Document:
        return replace(document, text=text)

    chosen: list[int] = []
    order = _by_relevance(sentences, query, language_of(text))
    for place in order:
        if size(with_text(_joined(sentences, [*chosen, place]))) <= left:
            chosen.append(place)
    if chosen:
        return with_text(_joined(sentences, chosen))
    if not order:
        return None
    part = _cut_sentence(sentences[order[0]], lambda part: size(with_text(part)) <= left)
    return with_text(part) if part else None


def _by_relevance(sentences: Sequence[str], query: str, language: str) -> list[int]:
    """Places of sentences, the most relevant to the query first; of equal ones the earlier."""
    index = TermIndex()
    for sentence in sentences:
        index.add(search_terms(sentence, language))
    scores = index.scores(search_terms(query, language), np.ones(len(sentences), dtype=bool))
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return order


def _joined(sentences: Sequence[str], places: Sequence[int]) -> str:
    """Sentences in their order, with a mark where others stood between them."""
    text, last = "", None
    for place in sorted(places):
        if last is not None:
            text += " " if place == last + 1 else _GAP
        text += sentences[place]
        last = place
    return text


def _cut_sentence(sentence: str, fits: Callable[[str], bool]) -> str:
    """The longest beginning that fits and ends with a word, and failing that with a character."""
    word_ends = (match.end() for match in re.finditer(r"\S+", sentence))
    by_word = _longest_beginning(sentence, word_ends, fits)
    return by_word or _longest_beginning(sentence, range(1, len(sentence)), fits)


def _longest_beginning(text: str, ends: Iterable[int], fits: Callable[[str], bool]) -> str:
    ends = list(ends)
    fitting = bisect_right(ends, False, key=lambda end: not fits(text[:end]))
    return text[: ends[fitting - 1]] if fitting else ""
