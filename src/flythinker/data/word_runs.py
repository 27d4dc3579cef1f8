"""Runs of eight words, by which texts that repeat each other are found."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flythinker.data.words import plain_words

RUN = 8
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no run of words is lost by multiplying


def word_runs(text: str) -> NDArray[np.uint64]:
    """Hashes of all runs of 8 words, ascending and each once; of a shorter text one hash.

    Letters and digits only, whatever the case. The hashes are this process's own.
    """
    found = plain_words(text)
    if len(found) < RUN:
        return np.array([hash(tuple(found))], dtype=np.int64).view(np.uint64)
    words = np.fromiter(map(hash, found), np.int64, len(found)).view(np.uint64)
    count = len(words) - RUN + 1
    runs = np.zeros(count, dtype=np.uint64)
    for place in range(RUN):
        runs = runs * _FACTOR + words[place : place + count]  # wraps around, as it should
    runs.sort()  # of so few, faster than `np.unique`
    return runs[np.concatenate([[True], runs[1:] != runs[:-1]])]


def seen_before(texts: Sequence[NDArray[np.uint64]]) -> NDArray[np.float64]:
    """Of each text's runs the share that an earlier text of the list has as well; `[texts]`."""
    if not texts:
        return np.zeros(0)
    sizes = np.array([len(runs) for runs in texts])
    runs = np.concatenate(texts)
    owners = np.repeat(np.arange(len(texts)), sizes)
    order = np.argsort(runs, kind="stable")  # of equal runs the earliest text's comes first
    again = np.zeros(len(runs), dtype=bool)
    again[1:] = runs[order[1:]] == runs[order[:-1]]
    counts: NDArray[np.int64] = np.bincount(owners[order[again]], minlength=len(texts))
    return counts / sizes


class RunIndex:
    """Which texts have which runs of eight words, so that one more text is compared with all."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Hash all runs; 12 bytes each are kept."""
        found = [word_runs(text) for text in texts]
        runs = np.concatenate([*found, np.zeros(0, dtype=np.uint64)])
        order = np.argsort(runs, kind="stable")
        owners = np.repeat(np.arange(len(texts), dtype=np.int32), [len(one) for one in found])
        self._runs, self._owners, self._texts = runs[order], owners[order], len(texts)

    def shares(self, text: str) -> NDArray[np.float64]:
        """Of the runs of `text` the share that each text has as well; `[texts]`."""
        runs = word_runs(text)
        starts = np.searchsorted(self._runs, runs, side="left")
        counts = np.searchsorted(self._runs, runs, side="right") - starts
        # the places starts[0], starts[0] + 1, …, starts[1], … of all that are found
        firsts = np.cumsum(counts) - counts
        places = np.repeat(starts - firsts, counts) + np.arange(int(counts.sum()))
        both = np.bincount(self._owners[places], minlength=self._texts)
        shares: NDArray[np.float64] = both / len(runs)
        return shares
