"""How much of the demo fits into the time, from what a step and a token take on this machine."""

import math
from dataclasses import dataclass

STEPS = (10, 120)
"""Fewest and most training steps of each method."""
TEXTS = (6, 24)
"""Fewest and most held-out texts that are written and judged, in sixes."""
BATCH = 12
"""Texts written at the same time."""
NEW_TOKENS = 200
"""Longest written text."""
VALIDATION = 16
"""Texts of the held-out loss in a training, in its middle and at its end."""
_MARGIN = 0.85  # of the time is planned: a machine is not always as quick as when it was measured
_FOR_TEXTS = 0.4  # of the time at most, while fewer texts could do


@dataclass(frozen=True)
class Costs:
    """Seconds that things take here, SFT and FlyThinker together.

    Attributes:
        step: an optimizer step over one text.
        loss: the held-out loss of one text.
        token: one token of `BATCH` texts written at once.
        rest: loading and saving models, metrics, the report.
    """

    step: float
    loss: float
    token: float
    rest: float

    def training(self, steps: int) -> float:
        """Seconds of both trainings."""
        return steps * self.step + 2 * VALIDATION * self.loss

    def judging(self, texts: int) -> float:
        """Seconds until both have written so many texts, and all is measured and reported."""
        return math.ceil(texts / BATCH) * NEW_TOKENS * self.token + texts * self.loss + self.rest


@dataclass(frozen=True)
class Plan:
    """Steps of each training, texts that are judged, and the seconds that all of it will take."""

    steps: int
    texts: int
    seconds: float
    costs: Costs


def fit(costs: Costs, seconds: float) -> Plan:
    """The most of the demo that fits into so many seconds; the least of it where nothing does."""
    planned = _MARGIN * seconds
    texts = fit_texts(costs, _FOR_TEXTS * planned, TEXTS[1])
    left = planned - costs.judging(texts) - costs.training(0)
    steps = min(max(int(left / costs.step), STEPS[0]), STEPS[1])
    if steps == STEPS[1]:  # what training leaves is for the texts
        texts = fit_texts(costs, planned - costs.training(steps), TEXTS[1])
    return Plan(steps, texts, costs.training(steps) + costs.judging(texts), costs)


def fit_texts(costs: Costs, seconds: float, most: int) -> int:
    """How many texts can be written and judged in so many seconds, `most` at most."""
    counts = range(most, TEXTS[0], -TEXTS[0])
    return next((n for n in counts if costs.judging(n) <= seconds), TEXTS[0])
