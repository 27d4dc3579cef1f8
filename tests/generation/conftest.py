import pytest

from flythinker.data.prompt import build_prompt
from flythinker.model_folder import PersonalModel, load_tokenizer
from flythinker.training.build import build_model


@pytest.fixture
def personal(configure) -> PersonalModel:
    """Tiny, with thoughts that matter."""
    config = configure("model.projection=pad")
    model = build_model(config.model, None).eval()
    tokenizer = load_tokenizer(config.model.generator)
    return PersonalModel(model, tokenizer, config.prompt, {})


@pytest.fixture
def prompts(personal, examples):
    return [build_prompt(e, personal.tokenizer, personal.prompt) for e in examples[:7]]
