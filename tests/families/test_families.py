"""docs/families.md says what each family does; here a dozen, and all of them with `-m slow`."""

from pathlib import Path

import pytest
from checks import check_family
from table import read_verdicts
from tiny_families import families

DOCUMENT = Path(__file__).parents[2] / "docs" / "families.md"
SOME = {
    "llama": "whole",
    "mistral": "whole",  # a sliding window
    "gemma2": "whole",  # windows in turn, capped logits
    "gemma3_text": "whole",
    "gpt_oss": "whole",  # sinks, experts
    "llama4_text": "whole",  # chunks
    "gptj": "whole",
    "mpt": "whole",  # positions as a bias
    "bloom": "whole",
    "longcat_flash": "whole",  # latent attention; reads a layer's weights by itself
    "mamba": "general way",
    "jamba": "general way",
    "minimax": "refused",
}


@pytest.mark.parametrize("name", SOME)
def test_some_families(name):
    row = check_family(name)
    assert row.verdict == SOME[name], row


@pytest.mark.slow
@pytest.mark.parametrize("name", families())
def test_every_family_does_what_the_document_says(name):
    row = check_family(name)
    assert row.verdict == read_verdicts(DOCUMENT).get(name), row


@pytest.mark.slow
def test_no_family_of_transformers_is_missing():
    assert set(families()) <= read_verdicts(DOCUMENT).keys()
