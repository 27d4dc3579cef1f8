"""Tiny random models of every architecture we promise, for the tests of this folder."""

from itertools import cycle, product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from flythinker import FlyThinkerForCausalLM

VOCAB = 128
PAD, EOS = 0, 1  # never among the tokens of `random_ids`
FAMILIES = ("llama", "qwen2", "qwen3", "gemma", "gpt2")
INJECTIONS = ("global", "input", "output")
TOLERANCE = {"atol": 1e-4, "rtol": 0.0}

_ROTARY = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "gemma": GemmaConfig,
}


class Variant(NamedTuple):
    """One way to put a FlyThinker model together."""

    family: str = "llama"
    injection: str = "global"
    reasoner_width: int = 32
    projection: str = "pad"

    def __str__(self) -> str:
        return "-".join(map(str, self))


PLAIN = Variant()

# Every family meets every injection; widths and projections rotate so that each pair of settings
# occurs at least once.
_WAYS = cycle([(32, "pad"), (16, "linear"), (32, "linear"), (16, "pad")])
VARIANTS = [Variant(*pair, *next(_WAYS)) for pair in product(FAMILIES, INJECTIONS)]


def tiny_config(family: str, width: int = 32, vocab: int = VOCAB) -> PreTrainedConfig:
    """Two layers, and weights large enough for logits that are far from uniform."""
    common = {
        "vocab_size": vocab,
        "initializer_range": 0.2,
        "pad_token_id": PAD,
        "bos_token_id": EOS,
        "eos_token_id": EOS,
        "tie_word_embeddings": True,
    }
    if family == "gpt2":
        dropout = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
        return GPT2Config(n_embd=width, n_layer=2, n_head=2, n_positions=128, **dropout, **common)
    return _ROTARY[family](
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=128,
        **common,
    )


def tiny_generator(family: str = "llama", vocab: int = VOCAB, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(tiny_config(family, vocab=vocab)).eval()


def tiny_reasoner(
    family: str = "llama", width: int = 32, vocab: int = VOCAB, seed: int = 1
) -> PreTrainedModel:
    torch.manual_seed(seed)
    return AutoModel.from_config(tiny_config(family, width, vocab)).eval()


def tiny_flythinker(variant: Variant = PLAIN, seed: int = 0) -> FlyThinkerForCausalLM:
    """A model whose thoughts matter: a linear map gets random weights in place of zeros."""
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        tiny_generator(variant.family, seed=seed),
        tiny_reasoner(variant.family, variant.reasoner_width, seed=seed + 1),
        injection=variant.injection,
        projection=variant.projection,
    )
    if model.projection is not None:
        nn.init.normal_(model.projection.weight, std=variant.reasoner_width**-0.5)
    return model


def random_ids(*shape: int, seed: int = 0) -> Tensor:
    """Token ids without padding and end tokens."""
    drawn = torch.Generator().manual_seed(seed)  # the CPU's, for the same ids on every device
    ids = torch.randint(2, VOCAB, shape, generator=drawn, device="cpu")
    return ids.to(torch.get_default_device())


def padded(rows: list[Tensor], side: str, pad_token: int = PAD) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` of rows of different lengths."""
    pad = {"batch_first": True, "padding_side": side}
    sequence = nn.utils.rnn.pad_sequence
    return {
        "input_ids": sequence(rows, padding_value=pad_token, **pad),
        "attention_mask": sequence([torch.ones_like(row) for row in rows], **pad),
    }


def greedy_by_recomputation(
    model: PreTrainedModel, prompt: Tensor, tokens: int, **inputs: object
) -> list[int]:
    """The argmax continuation of one prompt [seq], each token from a full forward."""
    ids = prompt[None]
    for _ in range(tokens):
        best = model(ids, **inputs).logits[:, -1:].argmax(-1)
        ids = torch.cat([ids, best], dim=1)
        if best.item() == EOS:
            break
    return ids[0].tolist()
