"""BM25 over texts that come one after another: term counts are kept, scores are made when asked.

bm25s stores finished scores, every one of which changes with each text that is added. Here its
inputs are stored (which text has which term how often, how long each text is), so that adding one
text costs that text alone, and any part of the texts can be searched as if there were no others.
The scores are bm25s's own (variant of Lucene, k1 = 1.5, b = 0.75) bit for bit, ties included; a
test compares them.
"""

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

K1, B = 1.5, 0.75
_BETWEEN = "\0"  # terms, which have no such letter


@dataclass(frozen=True, slots=True)
class Postings:
    """Which texts hold which terms, in arrays that are kept and read back as they are.

    The integers are as narrow as their values allow: there is less to read when a server starts.

    Attributes:
        terms: UTF-8 of all terms in the order of their bytes, a zero between them.
        starts: where each term's texts begin in the two below, and the end; `[terms + 1]`.
        places: of the texts that hold a term, ascending for each term.
        counts: how often each holds it.
        lengths: terms of each text; `[texts]`.
    """

    terms: NDArray[np.uint8]
    starts: NDArray[np.int64]
    places: NDArray[np.unsignedinteger]
    counts: NDArray[np.unsignedinteger]
    lengths: NDArray[np.unsignedinteger]

    @classmethod
    def empty(cls) -> Self:
        """Of no texts."""
        none = np.zeros(0, dtype=np.uint32)
        return cls(np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64), none, none, none)

    def to_bytes(self) -> bytes:
        """For `from_bytes`."""
        return save({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` was given of."""
        return cls(**load(data))

    def term_list(self) -> list[str]:
        """All terms, in the order of `starts`."""
        text = self.terms.tobytes().decode()
        return text.split(_BETWEEN) if len(self.starts) > 1 else []


class TermIndex:
    """Which of the texts added so far hold which terms, and how often.

    The first texts may come packed; those that are added later stand beside them.
    """

    def __init__(self, packed: Postings | None = None) -> None:
        self._packed = packed or Postings.empty()
        self._terms = self._packed.terms.tobytes()
        between = np.flatnonzero(self._packed.terms == ord(_BETWEEN))
        self._bounds = np.concatenate([[-1], between, [len(self._terms)]])
        self._lengths = array("I", self._packed.lengths.astype(np.uint32).tobytes())
        self._places: dict[str, array[int]] = {}
        self._counts: dict[str, array[int]] = {}

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, terms: Sequence[str]) -> None:
        """Add the next text by its terms, repeated ones as often as they stand in it."""
        place = len(self._lengths)
        self._lengths.append(len(terms))
        for term, count in Counter(terms).items():
            if term not in self._places:
                self._places[term], self._counts[term] = array("I"), array("I")
            self._places[term].append(place)
            self._counts[term].append(count)

    def scores(self, terms: Sequence[str], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        """BM25 of every text for a query, as if there were only the texts `inside`.

        Args:
            terms: of the query; one that stands in it twice counts twice.
            inside: `[texts]`, which texts there are; others get 0 and change nothing.

        Returns:
            float32 `[texts]`.
        """
        scores = np.zeros(len(self), dtype=np.float32)
        lengths = np.array(self._lengths)
        texts = int(np.count_nonzero(inside))
        total = int(lengths[inside].sum())
        if not total:
            return scores
        # in the order of bm25s's operations: another order rounds otherwise, and breaks ties
        spread = K1 * ((1 - B) + B * lengths / (total / texts))
        for term in terms:
            places, counts = self._texts_with(term)
            kept = inside[places]
            places = places[kept]
            if not len(places):
                continue
            counts = counts[kept].astype(np.float32)
            rarity = np.float32(math.log(1 + (texts - len(places) + 0.5) / (len(places) + 0.5)))
            share = counts / (spread[places] + counts)
            scores[places] += (np.float64(rarity) * share).astype(np.float32)
        return scores

    def packed(self, kept: NDArray[np.bool_]) -> Postings:
        """Everything in arrays, of the texts that are `kept` alone, numbered anew; `[texts]`."""
        old_terms = self._packed.term_list()
        known = sorted({*old_terms, *self._places})
        numbers = {term: number for number, term in enumerate(known)}
        added = [
            (numbers[term], np.array(places), np.array(self._counts[term]))
            for term, places in self._places.items()
        ]
        renamed = np.array([numbers[term] for term in old_terms], dtype=np.int64)
        old = np.repeat(renamed, np.diff(self._packed.starts))
        owners = np.concatenate([old, *(np.full(len(p), number) for number, p, _ in added)])
        places = np.concatenate([self._packed.places, *(p for _, p, _ in added)])
        counts = np.concatenate([self._packed.counts, *(c for _, _, c in added)])
        order = np.argsort(owners, kind="stable")  # of a term the older texts stay first
        order = order[kept[places[order]]]
        sizes = np.bincount(owners[order], minlength=len(numbers))
        found = sizes > 0
        terms = [term for term, there in zip(known, found.tolist(), strict=True) if there]
        renumbered = np.cumsum(kept) - 1
        return Postings(
            np.frombuffer(_BETWEEN.join(terms).encode(), dtype=np.uint8),
            np.concatenate([[0], np.cumsum(sizes[found])]).astype(np.int64),
            _narrow(renumbered[places[order]]),
            _narrow(counts[order]),
            _narrow(np.array(self._lengths)[kept]),
        )

    def _texts_with(
        self, term: str
    ) -> tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]:
        """Places of the texts with a term, and how often each has it."""
        number = self._number(term)
        if number is None:
            places = np.array(self._places.get(term, ()), dtype=np.uint32)
            return places, np.array(self._counts.get(term, ()), dtype=np.uint32)
        part = slice(self._packed.starts[number], self._packed.starts[number + 1])
        if term not in self._places:
            return self._packed.places[part], self._packed.counts[part]
        return (
            np.concatenate([self._packed.places[part], np.array(self._places[term])]),
            np.concatenate([self._packed.counts[part], np.array(self._counts[term])]),
        )

    def _number(self, term: str) -> int | None:
        """Of a packed term: looked for among their bytes, for a table of all takes long to make."""
        wanted, terms = term.encode(), range(len(self._packed.starts) - 1)
        number = bisect_left(terms, wanted, key=self._bytes_of)
        return number if number < len(terms) and self._bytes_of(number) == wanted else None

    def _bytes_of(self, number: int) -> bytes:
        return self._terms[self._bounds[number] + 1 : self._bounds[number + 1]]


def _narrow(values: NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
    """The same in the smallest unsigned integers."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))
