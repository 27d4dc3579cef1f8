"""Prompts that were read before: a user's profile is read once, not once a request."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Prefix(NamedTuple):
    """What a part remembers of a prompt.

    `keys` and `values` are [heads, tokens, head_dim] a layer; `thoughts` [tokens, d_R], rescaled,
    is the Reasoner's, `None` for the Generator.
    """

    keys: list[Tensor]
    values: list[Tensor]
    thoughts: Tensor | None = None

    def n_bytes(self) -> int:
        """Bytes of all tensors."""
        thoughts = [] if self.thoughts is None else [self.thoughts]
        tensors = [*self.keys, *self.values, *thoughts]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class PrefixCache:
    """Least recently used prompts leave first, once all together hold more than `max_bytes`.

    A pass is causal, so a prompt serves every other one that begins with the same tokens, as far
    as they agree. `kind` keeps apart what the same tokens mean: the Reasoner's reading of them,
    the Generator's with thoughts of one λ, and the Generator's without; and whose they are.

    Attributes:
        hits, misses: tokens found here and tokens read anew, over all lookups.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = 0
        self.n_bytes = 0
        self._prompts: OrderedDict[tuple[str, bytes], tuple[NDArray[np.int64], Prefix]] = (
            OrderedDict()
        )

    def __len__(self) -> int:
        return len(self._prompts)

    def find(self, kind: str, ids: Sequence[int]) -> tuple[int, Prefix | None]:
        """How many of the first tokens of `ids` some prompt agrees with, and that prompt.

        Never all of them: the last token must be read to know what follows.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        longest, best = 0, None
        for key, (known, _) in self._prompts.items():
            if key[0] == kind:
                n = _agreeing(known, wanted[:-1])
                if n > longest:
                    longest, best = n, key
        self.hits += longest
        self.misses += len(ids) - longest
        if best is None:
            return 0, None
        self._prompts.move_to_end(best)
        return longest, self._prompts[best][1]

    def put(self, kind: str, ids: Sequence[int], prefix: Prefix) -> None:
        """Remember a prompt; one larger than the whole budget is not kept."""
        known = np.asarray(ids, dtype=np.int64)
        key = (kind, known.tobytes())
        if prefix.n_bytes() > self.max_bytes or key in self._prompts:
            return
        self._prompts[key] = (known, prefix)
        self.n_bytes += prefix.n_bytes()
        while self.n_bytes > self.max_bytes:
            _, (_, oldest) = self._prompts.popitem(last=False)
            self.n_bytes -= oldest.n_bytes()


def _agreeing(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n
