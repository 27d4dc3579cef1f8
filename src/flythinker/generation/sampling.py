"""How texts are sampled, and the one call that samples them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flythinker.data.prompt import Prompt, end_of_turn_id
from flythinker.model_folder import PersonalModel


@dataclass(frozen=True)
class Sampling:
    """Decoding settings; the defaults are the paper's (temperature 0.8, top-p 0.95).

    Attributes:
        max_new_tokens: longest response, in tokens.
        temperature: 0 decodes greedily.
        seed: of the sampling; the same seed gives the same text.
        min_new_tokens: shortest response, in tokens, for timings; 0 = it ends where it ends.
        top_k: draw among the k likeliest tokens; 0 = all.
        repetition_penalty: above 1, tokens already in prompt or response get less likely.
        stop: the response ends before the first of these; `Writer` only.
        fusion_weight: λ of this text; `None`: the model's own.
        logprobs: how many of the likeliest tokens to tell beside each token's own log-probability;
            `None`: tell no log-probabilities. `Writer` only.
        effects: tell how far thoughts moved the prediction of each token, and the words near its
            thought: the text then takes two slots. `Writer` only.
    """

    max_new_tokens: int = 512
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0
    min_new_tokens: int = 0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    fusion_weight: float | None = None
    logprobs: int | None = None
    effects: bool = False


def generate_arguments(
    personal: PersonalModel, prompts: Sequence[Prompt], sampling: Sampling
) -> dict[str, Any]:
    """The arguments of `model.generate` for a left-padded batch of prompts."""
    tokenizer = personal.tokenizer
    batch: dict[str, Any] = padded(personal, [prompt.prompt_ids for prompt in prompts])
    own = [prompt.reasoner_ids for prompt in prompts if prompt.reasoner_ids is not None]
    if own:
        batch |= {f"reasoner_{name}": ids for name, ids in padded(personal, own).items()}
    if sampling.fusion_weight is not None:
        batch["fusion_weight"] = sampling.fusion_weight
    sampled = sampling.temperature > 0
    return {
        **batch,
        "max_new_tokens": sampling.max_new_tokens,
        "min_new_tokens": sampling.min_new_tokens or None,
        "do_sample": sampled,
        "temperature": sampling.temperature if sampled else None,
        "top_p": sampling.top_p if sampled else None,
        "top_k": sampling.top_k if sampled else None,
        "repetition_penalty": sampling.repetition_penalty,
        "eos_token_id": end_of_turn_id(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
    }


def padded(personal: PersonalModel, ids: list[list[int]]) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, padded on the left."""
    padded = personal.tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
    return dict(padded.to(personal.model.device))


def respond(
    personal: PersonalModel, prompts: Sequence[Prompt], sampling: Sampling, **arguments: Any
) -> list[str]:
    """Write a response to each prompt, in one batch; the same seed gives the same texts.

    `arguments` go to `model.generate` beside `generate_arguments`'s, over which they win.
    """
    torch.manual_seed(sampling.seed)
    arguments = generate_arguments(personal, prompts, sampling) | arguments
    sequences = personal.model.generate(**arguments)
    responses = sequences[:, arguments["input_ids"].shape[1] :]
    texts = personal.tokenizer.batch_decode(responses, skip_special_tokens=True)
    return [text.strip() for text in texts]
