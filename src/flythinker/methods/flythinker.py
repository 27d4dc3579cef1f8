"""FlyThinker: think while generating (arXiv 2512.06690)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from flythinker.methods.base import Tuned
from flythinker.training.config import RunConfig


@dataclass
class FlyThinker(Tuned):
    """Generator and Reasoner trained jointly, as the `model` section of the config says."""

    label: ClassVar[str] = "FlyThinker"

    def training_config(self) -> RunConfig:
        """The comparison's settings, Reasoner included."""
        return replace(self.config, training=self.arguments())
