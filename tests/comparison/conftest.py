from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from flythinker.data.example import Example, write_examples


@pytest.fixture
def two_users(tmp_path: Path, examples: list[Example]) -> Path:
    """Twelve held-out examples of two users."""
    path = tmp_path / "test.jsonl"
    users = ["ada", "bob"]
    write_examples(path, [replace(e, user_id=users[i % 2]) for i, e in enumerate(examples[18:30])])
    return path


MakeComparison = Callable[..., Path]


@pytest.fixture
def comparison_file(config_file: Path, two_users: Path, tmp_path: Path) -> MakeComparison:
    """`comparison_file(methods, **compare settings)`: a comparison on the tiny backbone."""

    def make(methods: dict[str, Any], name: str = "compare", **settings: Any) -> Path:
        sections = yaml.safe_load(config_file.read_text())
        sections["training"] |= {
            "output_dir": str(tmp_path / f"{name}-work"),
            "max_steps": 6,
            "save_strategy": "steps",
            "save_steps": 2,
        }
        sections["compare"] = {
            "test": str(two_users),
            "results": str(tmp_path / f"{name}-results"),
            "methods": methods,
            "response_tokens": 30,
            "batch_size": 3,
        } | settings
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(sections, sort_keys=False))
        return path

    return make
