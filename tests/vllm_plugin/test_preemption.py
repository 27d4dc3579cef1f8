"""A cache too small for all texts: thrown out, read anew, and still the same."""

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from typing import Any

from parity import (
    config,
    greedy,
    largest_difference,
    model,
    preemptions,
    prompts,
    write,
    written,
)

TOKENS = 60


@pytest.mark.parametrize("injection", ["global", "output"])
def test_preempted_texts(start: Any, injection: str) -> None:
    """With "output" the answer so far, which is read anew with the prompt, keeps its thoughts."""
    ours = model(
        config("qwen3", 64, tie_word_embeddings=False),
        config("qwen2", 128, num_attention_heads=4, num_key_value_heads=2),
        injection=injection,
        projection="linear",
    )
    llm = start(
        ours,
        max_model_len=128,
        num_gpu_blocks_override=8,
        enable_prefix_caching=injection == "global",
    )
    batch = prompts(60, 50, 40, 30)
    outputs = write(llm, batch, TOKENS)
    assert preemptions(llm) > 0
    expected = [greedy(ours, prompt, TOKENS) for prompt in batch]
    assert written(outputs) == expected
    assert max(largest_difference(ours, output) for output in outputs) < 1e-4
    assert expected != [greedy(ours, prompt, TOKENS, fusion_weight=0.0) for prompt in batch]
