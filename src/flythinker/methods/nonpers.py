"""Non-pers: the base model, asked by the query alone (paper, baselines)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from flythinker.data.example import Example
from flythinker.data.prompt import Prompt
from flythinker.methods.base import Method


@dataclass
class NonPers(Method):
    """The untrained Generator reads the query and nothing of the user: the floor."""

    label: ClassVar[str] = "Non-pers"

    def prompts(self, examples: Sequence[Example]) -> list[Prompt]:
        """The query alone, as an example without history has it."""
        return super().prompts([replace(example, history=()) for example in examples])
