"""What teaches an adapter, and what judges it."""

import math
from collections.abc import Sequence

from flythinker.data.document import Document
from flythinker.data.example import Example
from flythinker.data.occasions import examples_by_occasion
from flythinker.errors import FlyThinkerError

HELD_OUT = 0.2
"""The newest part of a person's passages, which judges the adapter."""
FEWEST_HELD_OUT = 5
"""An interval over fewer texts says nothing: all of them may be better by chance."""


def split_newest(user: str, documents: Sequence[Document]) -> tuple[list[Example], list[Example]]:
    """Examples of a person's passages to learn from, and the newest to judge by.

    Those of one date stay together. Each has all strictly earlier passages as its history. An edit
    counts for more than an old text: it teaches by its passages as every text does, and once more
    as a whole, as the answer to what was asked for.

    Raises:
        FlyThinkerError: they are too few to learn from and to judge by.
    """
    occasions = examples_by_occasion({user: documents}, keep_first=True).get(user, [])
    total = sum(map(len, occasions))
    wanted = max(math.ceil(HELD_OUT * total), FEWEST_HELD_OUT)
    held_out: list[Example] = []
    while occasions and len(held_out) < wanted:
        held_out = occasions.pop() + held_out
    learned = [example for occasion in occasions for example in occasion]
    if held_out:
        learned += _edits(user, documents, held_out[0].date)
    if len(learned) < FEWEST_HELD_OUT:
        raise FlyThinkerError(
            f"{user}: too little to learn from: {total} passages, of which the newest "
            f"{len(held_out)} would judge and {len(learned)} teach; it takes {FEWEST_HELD_OUT} of "
            "each, of different dates (date texts in their names: 2024-05-01-x.md)"
        )
    return learned, held_out


def _edits(user: str, documents: Sequence[Document], before: str) -> list[Example]:
    """What was asked for, and how the user wanted it: all edits from before a date."""
    return [
        Example(
            user,
            edit.edit_of.query,
            edit.text,
            tuple(document for document in documents if document.date < edit.date),
            edit.date,
        )
        for edit in documents
        if edit.edit_of is not None and edit.date < before
    ]
