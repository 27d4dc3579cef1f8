from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flythinker.data.example import Example
from flythinker.generation.sampling import Sampling
from flythinker.methods.base import Method

SHORT = ("training.num_train_epochs=1", "training.max_steps=4")


@pytest.fixture
def make_method(configure, tmp_path: Path) -> Callable[..., Method]:
    """`make_method(SFT, "section.key=value", …, option=value)`: a method on the tiny backbone."""

    def make(kind: type[Method], *overrides: str, folder: str = "own", **options: object) -> Method:
        shared = tmp_path / "shared"
        return kind(configure(*SHORT, *overrides), tmp_path / folder, shared, 60, **options)

    return make


@pytest.fixture
def greedy() -> Sampling:
    return Sampling(max_new_tokens=12, temperature=0)


@pytest.fixture
def held_out(examples: list[Example]) -> list[Example]:
    """Five examples that no training of `configure` reads, one without a history."""
    return [*examples[24:28], replace(examples[29], history=())]
