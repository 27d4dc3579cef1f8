"""Every comparison and ablation that is shipped can be read, and its trials made."""

from pathlib import Path

import pytest
import yaml

from flythinker.comparison.ablate import load_ablation
from flythinker.comparison.config import load_comparison

FOLDER = Path(__file__).parents[2] / "configs" / "compare"
FILES = sorted(FOLDER.glob("*.yaml"))


def sections(file: Path) -> set[str]:
    """Of a config and of what it extends."""
    raw = yaml.safe_load(file.read_text("utf-8"))
    return raw.keys() | (sections(FOLDER / raw["extends"]) if "extends" in raw else set())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_can_be_read(file):
    found = sections(file) & {"compare", "ablate"}
    assert found
    if "compare" in found:
        assert load_comparison(file).trials
    if "ablate" in found:
        assert load_ablation(file).comparison.trials
