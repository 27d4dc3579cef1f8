"""BM25 over texts that come one after another: term counts are kept, scores are made when asked.

bm25s stores finished scores, every one of which changes with each text that is added. Here its
inputs are stored (which text has which term how often, how long each text is), so that adding one
text costs that text alone, and any part of the texts can be searched as if there were no others.
The scores are bm25s's own (variant of Lucene, k1 = 1.5, b = 0.75) bit for bit, ties included; a
test compares them.
"""

import math
from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

K1, B = 1.5, 0.75


class TermIndex:
    """Which of the texts added so far hold which terms, and how often."""

    def __init__(self) -> None:
        self._lengths = array("I")
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
            if term not in self._places:
                continue
            places = np.array(self._places[term])
            kept = inside[places]
            places = places[kept]
            if not len(places):
                continue
            counts = np.array(self._counts[term])[kept].astype(np.float32)
            rarity = np.float32(math.log(1 + (texts - len(places) + 0.5) / (len(places) + 0.5)))
            share = counts / (spread[places] + counts)
            scores[places] += (np.float64(rarity) * share).astype(np.float32)
        return scores
