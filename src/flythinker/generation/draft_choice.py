"""Which drafts a step reads: those that have given the most tokens a second so far."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

_TRIED = 4  # steps of each way before they are compared
_AGAIN = 64  # in every so many steps, one goes the way that was not gone for longest
_MEMORY = 0.95  # what a step still counts at the next: texts change as they grow


class Way(NamedTuple):
    """Where drafts come from and how many there are; from the prompt, `tokens` is the most."""

    source: Literal["none", "lookup", "reasoner"]
    tokens: int


@dataclass
class _Record:
    steps: int = 0
    last_step: int = 0
    tokens: float = 0.0
    seconds: float = 0.0


class DraftChoice:
    """Chooses by what was measured, for each number of texts that are written together.

    How many drafts prove right depends on the texts and on the Reasoner's training; what they cost,
    on the machine and the batch. Tokens a second counts both.
    """

    def __init__(self) -> None:
        self._records: dict[tuple[int, Way], _Record] = defaultdict(_Record)
        self._steps: dict[int, int] = defaultdict(int)

    def choose(self, texts: int, ways: Sequence[Way]) -> Way:
        """One of the `ways` that are open to the next step of so many texts."""
        records = {way: self._records[texts, way] for way in ways}
        untried = [way for way, record in records.items() if record.steps < _TRIED]
        if untried:
            return untried[0]
        if self._steps[texts] % _AGAIN == 0:
            return min(ways, key=lambda way: records[way].last_step)
        return max(ways, key=lambda way: records[way].tokens / records[way].seconds)

    def note(self, texts: int, way: Way, tokens: int, seconds: float) -> None:
        """A step gave so many tokens over all texts, and took so long."""
        self._steps[texts] += 1
        record = self._records[texts, way]
        record.steps += 1
        record.last_step = self._steps[texts]
        record.tokens = _MEMORY * record.tokens + tokens
        record.seconds = _MEMORY * record.seconds + seconds
