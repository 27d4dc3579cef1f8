"""What one user's stored documents are found by: terms, languages and dates, and no texts."""

import json
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version as installed
from threading import Lock
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from flythinker.data import finder, language, term_index, words
from flythinker.data.document import Document
from flythinker.data.finder import Finder, searched_text, usual_language
from flythinker.data.language import language_of
from flythinker.data.term_index import Postings, TermIndex
from flythinker.files import content_hash

TextsOf = Callable[[Sequence[int]], dict[int, Document]]
"""Documents by their numbers; those that are gone are left out."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A user as the database knows them, and which state of their documents.

    Attributes:
        number: of the user.
        epoch: another one, if the user was forgotten in between.
        version: grows with every change of the documents.
    """

    number: int
    epoch: int
    version: int


class UserIndex:
    """Places of a user's documents by their numbers; a place is given once and never again.

    A document that is deleted or changed leaves its place; a changed one gets a new place. Whoever
    reads or changes it holds `lock`, which is this user's alone.

    Attributes:
        owner: the state of the documents that it knows.
        numbers, dates, languages: of the document at each place; the language may be unclear.
        unsaved: documents added since it was last kept in the database.
    """

    def __init__(self, owner: Owner, texts_of: TextsOf) -> None:
        self.lock = Lock()
        self.owner = owner
        self.numbers: list[int] = []
        self.dates: list[str] = []
        self.languages: list[str] = []
        self.unsaved = 0
        self._texts_of = texts_of
        self._place_of: dict[int, int] = {}  # of documents that are there
        self._finder = Finder(self._texts_at)
        self._new: dict[int, str] = {}  # texts at places, while they are indexed
        self._order: list[int] | None = None

    def __len__(self) -> int:
        return len(self._place_of)

    def apply(self, owner: Owner, changed: Iterable[tuple[int, Document]]) -> None:
        """Take over documents, with their numbers, that were added or changed since `owner`."""
        for number, document in changed:
            if number in self._place_of:
                self._order = None
            self._place_of[number] = place = len(self.numbers)
            text = searched_text(document)
            self.numbers.append(number)
            self.dates.append(document.date)
            self.languages.append(language_of(text))
            self._new[place] = text
            if self._order is not None:
                insort(self._order, place, key=self._when)
        self.unsaved += len(self._new)
        self.owner = owner
        usual = self._usual()
        self._finder.index(usual, self.languages)
        self._finder.indexes = {usual: self._finder.indexes[usual]}
        self._new.clear()

    def keep_only(self, numbers: Iterable[int]) -> None:
        """Leave out the documents of all other numbers: they were deleted."""
        there = set(numbers)
        self._place_of = {n: place for n, place in self._place_of.items() if n in there}
        self._order = None

    def order(self) -> list[int]:
        """Places of all documents, undated ones and then the oldest first; not to be kept."""
        if self._order is None:
            self._order = sorted(self._place_of.values(), key=self._when)
        return self._order

    def bm25(self, query: str, places: Sequence[int]) -> NDArray[np.float32]:
        """BM25 of the documents at places, as if there were no others; float32 `[n]`."""
        return self._finder.bm25(query, places, self.languages)

    def compacted(self) -> "UserIndex":
        """The same documents without the places that were left, in arrays."""
        places = sorted(self._place_of.values())
        kept = np.zeros(len(self.numbers), dtype=bool)
        kept[places] = True
        usual = self._usual()
        postings = self._finder.index(usual, self.languages).packed(kept)
        return self._of(
            self.owner,
            [self.numbers[place] for place in places],
            [self.dates[place] for place in places],
            [self.languages[place] for place in places],
            usual,
            postings,
            self._texts_of,
        )

    def parts(self, size: int) -> Iterator[bytes]:
        """All of a compacted index as bytes, `size` at a time."""
        usual = self._usual()
        index = self._finder.index(usual, self.languages)
        dates, languages = sorted(set(self.dates)), sorted(set(self.languages))
        about = {
            "made_by": analysis(),
            "epoch": self.owner.epoch,
            "version": self.owner.version,
            "usual": usual,
            "dates": dates,
            "languages": languages,
        }
        postings = index.packed(np.ones(len(index), dtype=bool)).to_bytes()
        whole = save(
            {
                "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
                "postings": np.frombuffer(postings, dtype=np.uint8),
                "numbers": np.array(self.numbers, dtype=np.int64),
                "dates": _places_in(dates, self.dates),
                "languages": _places_in(languages, self.languages),
                "order": np.array(self.order(), dtype=np.int64),
            }
        )
        yield from (whole[start : start + size] for start in range(0, len(whole), size))

    @classmethod
    def from_parts(cls, parts: Sequence[bytes], owner: Owner, texts_of: TextsOf) -> Self | None:
        """What `parts` gave; None if it is of another person or was made by other code."""
        try:
            arrays = load(b"".join(parts))
        except SafetensorError:
            return None
        about = json.loads(arrays["about"].tobytes())
        if about["made_by"] != analysis() or about["epoch"] != owner.epoch:
            return None
        state = Owner(owner.number, owner.epoch, about["version"])
        index = cls._of(
            state,
            arrays["numbers"].tolist(),
            [about["dates"][place] for place in arrays["dates"].tolist()],
            [about["languages"][place] for place in arrays["languages"].tolist()],
            about["usual"],
            Postings.from_bytes(arrays["postings"].tobytes()),
            texts_of,
        )
        index._order = arrays["order"].tolist()
        return index

    @classmethod
    def _of(
        cls,
        owner: Owner,
        numbers: list[int],
        dates: list[str],
        languages: list[str],
        usual: str,
        postings: Postings,
        texts_of: TextsOf,
    ) -> Self:
        index = cls(owner, texts_of)
        index.numbers, index.dates, index.languages = numbers, dates, languages
        index._place_of = {number: place for place, number in enumerate(numbers)}
        index._finder.indexes[usual] = TermIndex(postings)
        return index

    def _when(self, place: int) -> tuple[str, int]:
        return self.dates[place], self.numbers[place]

    def _usual(self) -> str:
        return usual_language(self.languages[place] for place in self.order())

    def _texts_at(self, places: range) -> Iterator[str]:
        """Texts to index: those that just came, and when the usual language changes all others."""
        missing = [self.numbers[place] for place in places if place not in self._new]
        there = self._texts_of(missing) if missing else {}
        for place in places:
            document = there.get(self.numbers[place])
            # one that is gone was at a place that is not searched any more
            yield self._new.get(place) or (searched_text(document) if document else "")


def _places_in(names: Sequence[str], values: Sequence[str]) -> NDArray[np.int64]:
    """Where each value stands among the names."""
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[value] for value in values], dtype=np.int64)


@cache
def analysis() -> str:
    """Names what makes terms of texts: an index that other code or rules made is not used."""
    modules = [
        content_hash(str(module.__file__)) for module in (words, language, finder, term_index)
    ]
    libraries = [
        installed(name) for name in ("PyStemmer", "icu4py", "py3langid", "stopwordsiso", "bm25s")
    ]
    return sha256(json.dumps([modules, libraries]).encode()).hexdigest()
