"""What vLLM calls the settings of a `Sampling`."""

from typing import Any

from flythinker.generation.sampling import Sampling

_NAMES = {
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logit_bias": "logit_bias",
    "min_new_tokens": "min_tokens",
    "ignore_eos": "ignore_eos",
    "stop_token_ids": "stop_token_ids",
}


def vllm_settings(sampling: Sampling) -> dict[str, Any]:
    """What a text asks for beside temperature, top-p, length, seed and stop strings.

    Only what differs from `Sampling`'s default, under the names of vLLM's requests and of its
    `SamplingParams`.
    """
    asked = {
        name: getattr(sampling, field)
        for field, name in _NAMES.items()
        if getattr(sampling, field) != getattr(Sampling, field)
    }
    if "logit_bias" in asked:
        asked["logit_bias"] = dict(asked["logit_bias"])
    if "stop_token_ids" in asked:
        asked["stop_token_ids"] = list(asked["stop_token_ids"])
    return asked
