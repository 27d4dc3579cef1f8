"""Models whose rotary positions depend on how long a text is: in company they write as alone."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from flythinker import FlyThinkerForCausalLM
from flythinker.adapter import Adapter
from flythinker.data.prompt import Prompt, PromptConfig
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.model_folder import PersonalModel, load_tokenizer
from random_adapters import merged, random_adapter
from tiny import random_ids, tiny_config

TRAINED = 16  # tokens, beyond which positions change
LENGTHS = (40, 25, 6, 12)  # of prompts; the last one's text grows over `TRAINED`
GREEDY = Sampling(max_new_tokens=12, min_new_tokens=12, temperature=0)
KINDS = {
    "dynamic": {"factor": 2.0},
    "longrope": {
        "factor": 8.0,
        "original_max_position_embeddings": TRAINED,
        "short_factor": [1.0] * 8,
        "long_factor": [1.0 + 0.5 * step for step in range(8)],
    },
}


@pytest.fixture(params=KINDS)
def personal(request, backbone) -> PersonalModel:
    config = tiny_config("llama", vocab=500)
    config.max_position_embeddings = TRAINED if request.param == "dynamic" else 8 * TRAINED
    rotary = {"rope_type": request.param, "rope_theta": 10_000.0, **KINDS[request.param]}
    config.rope_parameters = rotary
    torch.manual_seed(0)
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval(),
        AutoModel.from_config(copy.deepcopy(config)).eval(),
    )
    return PersonalModel(model, load_tokenizer(str(backbone)), PromptConfig(), {})


def fresh(personal: PersonalModel) -> PersonalModel:
    return replace(personal, model=copy.deepcopy(personal.model))


def alone(personal: PersonalModel, ids: list[int], adapter: Adapter | None = None) -> str:
    """What `generate` writes with a model that has read nothing before."""
    batch = {"input_ids": torch.tensor([ids]), "max_new_tokens": 12, "min_new_tokens": 12}
    written = merged(personal.model, adapter).generate(**batch, do_sample=False)[0, len(ids) :]
    return personal.tokenizer.decode(written, skip_special_tokens=True).strip()


def test_texts_of_any_length_side_by_side(personal):
    prompts = [random_ids(length, seed=length).tolist() for length in LENGTHS]
    expected = [alone(personal, ids) for ids in prompts]
    writer = Writer(fresh(personal), slots=2)
    assert "depend on the longest text" in writer.slower
    texts = writer.write([Prompt(ids, [], ()) for ids in prompts], GREEDY)
    assert texts == expected


@pytest.mark.parametrize("part", ["reasoner", "generator"])
def test_texts_with_an_adapter_each(personal, part):
    prompts = [random_ids(length, seed=length).tolist() for length in LENGTHS]
    first, second = (random_adapter(personal.model, part, seed) for seed in (1, 2))
    adapters = [first, None, second, first]
    expected = [alone(personal, *each) for each in zip(prompts, adapters, strict=True)]
    assert expected != [alone(personal, ids) for ids in prompts]
    writer = Writer(fresh(personal), slots=2)
    texts = [
        writer.submit(Prompt(ids, [], ()), GREEDY, "", adapter)
        for ids, adapter in zip(prompts, adapters, strict=True)
    ]
    while not writer.idle:
        writer.step()
    assert [text.text.strip() for text in texts] == expected
