"""SFT: fine-tuning on (history, query) → response (paper, baselines)."""

from dataclasses import dataclass
from typing import ClassVar

from flythinker.methods.base import Tuned


@dataclass
class SFT(Tuned):
    """The Generator trained alone: FlyThinker's own training with λ = 0 and no Reasoner."""

    label: ClassVar[str] = "SFT"
