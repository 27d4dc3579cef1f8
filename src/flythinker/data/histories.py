"""Is it personal? The same examples with another user's history, and with none.

A method that got better only by more training gets as much better with another user's history;
what a user's own history brings beyond that is personalization.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from flythinker.data.example import Example
from flythinker.errors import FlyThinkerError


def swap_histories(examples: Sequence[Example], seed: int = 0) -> list[Example]:
    """Each example with the history of an example of another user, always the same one.

    Query and target stay. Raises `FlyThinkerError` if there is only one user with a history.
    """
    draw = random.Random(seed)
    donors = [example for example in examples if example.history]
    swapped = []
    for example in examples:
        others = [donor for donor in donors if donor.user_id != example.user_id]
        if not others:
            raise FlyThinkerError(
                "swapping histories needs two users with past texts: measure without 'swap'"
            )
        swapped.append(replace(example, history=draw.choice(others).history))
    return swapped


def without_histories(examples: Sequence[Example]) -> list[Example]:
    """Each example with an empty history."""
    return [replace(example, history=()) for example in examples]
