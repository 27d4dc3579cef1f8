import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from flythinker.backbones.packaged import resolve_backbone
from flythinker.data.example import Example
from flythinker.data.sotu import build_sotu


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(resolve_backbone("smollm2-135m"))


@pytest.fixture(scope="session")
def sotu() -> dict[str, list[Example]]:
    return build_sotu("temporal")
