from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaModel

from flythinker import FlyThinkerForCausalLM
from flythinker.data.prompt import PromptConfig
from flythinker.model.parts import load_generator
from flythinker.model_folder import PersonalModel

PROMPT = PromptConfig(k=1, profile_tokens=40, query_tokens=20, response_tokens=40)


@pytest.fixture
def make(backbone: Path) -> Callable[..., PersonalModel]:
    """`make(injection=…, projection=…, width=…, zero=…, gpt2=…, **prompt)`: a tiny, thinking model.

    `gpt2`: the Generator is one, with absolute positions, LayerNorm and a tied head.
    """

    def build(
        injection: str = "global",
        projection: str = "linear",
        width: int = 32,
        zero: bool = False,
        gpt2: bool = False,
        **prompt: object,
    ) -> PersonalModel:
        tokenizer = AutoTokenizer.from_pretrained(backbone)
        torch.manual_seed(1)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            initializer_range=0.2,
        )
        model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
            _gpt2(len(tokenizer)) if gpt2 else load_generator(str(backbone)),
            LlamaModel(config).eval(),
            injection=injection,
            projection=projection,
        )
        if model.projection is not None and not zero:
            torch.nn.init.normal_(model.projection.weight, std=0.3)
        return PersonalModel(model, tokenizer, replace(PROMPT, **prompt), {})

    return build


def _gpt2(vocabulary: int) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=512,
        initializer_range=0.1,
    )
    return GPT2LMHeadModel(config).eval()
