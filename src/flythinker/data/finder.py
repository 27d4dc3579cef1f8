"""Finding among a person's texts by BM25, each text by its own language."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from flythinker.data.document import Document
from flythinker.data.term_index import TermIndex
from flythinker.data.words import search_terms


def searched_text(document: Document) -> str:
    """What a document is searched by: its title and its text."""
    return f"{document.title}\n{document.text}".strip()


def usual_language(languages: Iterable[str]) -> str:
    """The language of most texts, which those have that are too short to tell; else English."""
    known = Counter(language for language in languages if language not in ("", "und"))
    return known.most_common(1)[0][0] if known else "en"


@runtime_checkable
class Searchable(Protocol):
    """A history that is searched by an index of its own."""

    def bm25(self, query: str) -> NDArray[np.float32]:
        """BM25 of each text for a query, as if there were no others; float32 `[n]`."""
        ...


class Finder:
    """Terms of texts, indexed when they are first searched.

    Attributes:
        indexes: of all texts, by the language that texts of unclear language count as; mostly one.
    """

    def __init__(self, texts_at: Callable[[range], Iterable[str]]) -> None:
        """`texts_at` gives the texts at some places, to index them."""
        self.indexes: dict[str, TermIndex] = {}
        self._texts_at = texts_at

    def bm25(
        self, query: str, places: Sequence[int], languages: Sequence[str]
    ) -> NDArray[np.float32]:
        """BM25 of the texts at `places`, each once, as if there were no others; float32 `[n]`.

        Args:
            query: analysed as the text is, by the text's language.
            places: in the order of writing: of two languages as frequent the first counts.
            languages: of all texts, empty where unclear; as of `language_of`.
        """
        chosen = np.asarray(places, dtype=np.intp)
        usual = usual_language(languages[place] for place in places)
        resolved = np.array([language or usual for language in languages])
        inside = np.zeros(len(languages), dtype=bool)
        inside[chosen] = True
        index = self.index(usual, languages)
        scores = np.zeros(len(languages), dtype=np.float32)
        for language in dict.fromkeys(resolved[chosen].tolist()):
            found = index.scores(search_terms(query, language), inside)
            scores = np.where(resolved == language, found, scores)
        return scores[chosen]

    def index(self, usual: str, languages: Sequence[str]) -> TermIndex:
        """The index in which texts of unclear language count as `usual`, up to date."""
        index = self.indexes.setdefault(usual, TermIndex())
        missing = range(len(index), len(languages))
        if missing:
            for place, text in zip(missing, self._texts_at(missing), strict=True):
                index.add(search_terms(text, languages[place] or usual))
        return index
