"""Dated writings → the examples of each author, by the occasions on which they were written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from flythinker.data.document import Document
from flythinker.data.example import Example
from flythinker.data.passages import (
    Opening,
    Passage,
    TopicCounts,
    TopicTable,
    ask,
    count_topics,
    cut_passages,
    is_bullets,
    opening_of,
)
from flythinker.data.processes import map_in_processes
from flythinker.data.word_runs import seen_before, word_runs
from flythinker.data.writings import Selection, Writings

Keep = Callable[[Passage], bool]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A passage, and what is known of it without any other."""

    author: str
    document: Document  # its text is not needed any more, and empty
    passage: Passage
    runs: NDArray[np.uint64]
    bullets: bool
    topics: TopicCounts
    opening: Opening | None
    row: int = -1  # in the table that its topics went to


def keep_all(passage: Passage) -> bool:
    """No passage is left out."""
    return True


def examples_by_occasion(
    writings: Mapping[str, Sequence[Document]], *, keep: Keep = keep_all, keep_first: bool = False
) -> dict[str, list[list[Example]]]:
    """Build every author's examples, one list per date of writing, oldest first.

    Texts of the same date are one occasion, so that a history is strictly earlier than its
    target. `keep`, a function of a module, filters passages; near-duplicates (over half of the
    8-word runs seen before) are dropped everywhere. An author's first occasion has no history and
    is left out unless `keep_first`. The histories of an author are selections of the same texts.
    """
    texts = [
        (author, document)
        for author, documents in sorted(writings.items())
        for document in sorted(documents, key=lambda document: document.date)
    ]
    table = TopicTable()
    pieces = [
        replace(piece, topics=([], []), row=table.add(piece.topics))
        for piece in map_in_processes(partial(_cut, keep=keep), texts, "Cutting texts")
    ]
    repeated = seen_before([piece.runs for piece in pieces])
    pieces = [
        piece
        for piece, share in zip(pieces, repeated, strict=True)
        if share <= 0.5 and not piece.bullets
    ]
    topics = iter(table.ranked([piece.row for piece in pieces]))

    occasions: dict[str, list[list[Example]]] = {}
    for author, own in groupby(pieces, key=lambda piece: piece.author):
        written = Writings()
        occasions[author] = []
        for date, group in groupby(own, key=lambda piece: piece.document.date):
            history = Selection(written, range(len(written.documents)))
            examples, added = [], []
            for piece in group:
                words = next(topics)
                added.append(Document(piece.passage.text, piece.document.title, date))
                if piece.opening is not None:
                    asked = ask(piece.document, piece.passage.heading, words, piece.opening)
                    examples.append(Example(author, asked, piece.opening.rest, history, date))
            if examples and (history or keep_first):
                occasions[author].append(examples)
            for document in added:
                written.append(document)
    return occasions


def _cut(texts: Sequence[tuple[str, Document]], keep: Keep) -> list[_Piece]:
    """The passages of some texts; runs in a process of its own."""
    return [
        _Piece(
            author,
            Document("", document.title, document.date),
            passage,
            word_runs(passage.text),
            is_bullets(passage),
            count_topics(passage.text),
            opening_of(passage.text),
        )
        for author, document in texts
        for passage in filter(keep, cut_passages(document.text))
    ]
