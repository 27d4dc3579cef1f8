"""All texts of one person, kept once and searched as a whole or as far as some date."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, Self, overload

import numpy as np
from numpy.typing import NDArray

from flythinker.data.document import Document
from flythinker.data.finder import Finder, searched_text
from flythinker.data.language import language_of


class Writings:
    """The texts of one person in their order, to which more may be appended.

    Languages are detected and terms indexed when they are first asked for, and once.

    Attributes:
        documents: all of them; append by `append`.
    """

    def __init__(
        self, documents: Iterable[Document] = (), languages: Iterable[str | None] = ()
    ) -> None:
        """`languages` of the first documents, where they are known: as of `language_of`."""
        self.documents = list(documents)
        self._languages = list(languages)
        self._finder = Finder(self._texts_at)

    @property
    def writings(self) -> Self:
        """Itself: a `Source`."""
        return self

    def append(self, document: Document) -> None:
        """Add the next text."""
        self.documents.append(document)

    def languages(self) -> list[str]:
        """Language of each text, by itself; empty where that is unclear."""
        missing = self.documents[len(self._languages) :]
        self._languages += [None] * len(missing)
        for place, language in enumerate(self._languages):
            if language is None:
                self._languages[place] = language_of(searched_text(self.documents[place]))
        return [language or "" for language in self._languages]

    def bm25(self, query: str, places: Sequence[int]) -> NDArray[np.float32]:
        """BM25 of the texts at `places`, each once, as if there were no others; float32 `[n]`."""
        return self._finder.bm25(query, places, self.languages())

    def _texts_at(self, places: range) -> Iterator[str]:
        return (searched_text(self.documents[place]) for place in places)


class Source(Protocol):
    """Where the texts of one person are: in memory (`Writings` itself), or in a file."""

    @property
    def writings(self) -> Writings:
        """All of them, read if they are not in memory."""
        ...

    def __hash__(self) -> int: ...


class Selection(Sequence[Document]):
    """Some texts of a person by their places; it compares with, and hashes as, a tuple of them.

    Of a corpus the texts are read when they are first looked at; how many there are is known
    before.

    >>> past = Writings([Document("Sun."), Document("Rain.")])
    >>> Selection(past, range(1)) == (Document("Sun."),)
    True
    """

    __slots__ = ("places", "source")

    def __init__(self, source: Source, places: Sequence[int]) -> None:
        self.source = source
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> "Selection": ...
    def __getitem__(self, index: int | slice) -> "Document | Selection":
        if isinstance(index, slice):
            return Selection(self.source, self.places[index])
        return self.source.writings.documents[self.places[index]]

    def __iter__(self) -> Iterator[Document]:
        documents = self.source.writings.documents if self.places else []
        return (documents[place] for place in self.places)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (tuple, Selection)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{len(self)} past texts>"

    def bm25(self, query: str) -> NDArray[np.float32]:
        """BM25 of each text for a query, as if there were no others; float32 `[n]`."""
        if len(set(self.places)) < len(self.places):  # a text that is there twice counts twice
            return Writings(self).bm25(query, range(len(self)))
        return self.source.writings.bm25(query, self.places)
