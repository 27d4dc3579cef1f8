"""Families as vLLM knows them: what it writes with each is what transformers writes."""

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from typing import Any

from parity import config, greedy, largest_difference, model, prompts, write, written

TOKENS = 24
WINDOW = 16  # shorter than every text but one
ALTERNATING = ["sliding_attention", "full_attention"]
EXPERTS = {"num_experts_per_tok": 2, "tie_word_embeddings": False}

SETTINGS: dict[str, dict[str, Any]] = {
    "gemma3_text": {"sliding_window": WINDOW, "layer_types": ALTERNATING},
    "mistral": {"sliding_window": WINDOW},
    "gpt_oss": {"num_local_experts": 4, "sliding_window": WINDOW, "layer_types": ALTERNATING}
    | EXPERTS,
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 64} | EXPERTS,
    "granite": {"embedding_multiplier": 2.0, "residual_multiplier": 0.7, "logits_scaling": 1.5},
    # transformers' SDPA leaves the soft cap of its scores out
    "gemma2": {
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": 32,
        "attn_implementation": "eager",
    },
    "phi3": {"tie_word_embeddings": False, "sliding_window": None},
    "mixtral": {"num_local_experts": 4, "sliding_window": None} | EXPERTS,
}


def some(family: str) -> Any:
    """A case; two of them are part of every run."""
    often = family in ("gemma3_text", "gpt_oss")
    return pytest.param(family, marks=() if often else pytest.mark.slow)


@pytest.mark.parametrize("family", map(some, SETTINGS))
def test_a_family_as_both_parts(family: str, start_one: Any) -> None:
    """In a mixed batch, and after a cached prefix longer than any window."""
    own = SETTINGS[family]
    ours = model(config(family, 64, **own), config(family, 32, **own), fusion_weight=2.0)
    llm = start_one(ours)
    batch = prompts(1, 7, 33, 64, 100, 150, seed=2)
    outputs = write(llm, batch, TOKENS)
    expected = [greedy(ours, prompt, TOKENS) for prompt in batch]
    assert written(outputs) == expected
    assert max(largest_difference(ours, output) for output in outputs) < 1e-3
    assert expected != [greedy(ours, prompt, TOKENS, fusion_weight=0.0) for prompt in batch]
    (output,) = write(llm, [batch[-1] + [2, 3, 4]], TOKENS)
    assert output.num_cached_tokens == 128
    assert written([output]) == [greedy(ours, batch[-1] + [2, 3, 4], TOKENS)]


def test_two_families(start_one: Any) -> None:
    """A Generator with windows and scaled embeddings, and a Reasoner with neither."""
    gemma = config("gemma3_text", 64, **SETTINGS["gemma3_text"])
    ours = model(gemma, config("qwen3", 64), projection="linear", fusion_weight=2.0)
    batch = prompts(5, 70, seed=4)
    assert written(write(start_one(ours), batch, TOKENS)) == [
        greedy(ours, prompt, TOKENS) for prompt in batch
    ]
