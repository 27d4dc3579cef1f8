"""Both parts split over two processes."""

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from typing import Any

from parity import config, greedy, largest_difference, model, prompts, write, written

TOKENS = 24


def test_two_processes_write_the_same(start: Any) -> None:
    """Injection "input": its thoughts end where the prompt does."""
    ours = model(config("qwen2", 64), config("qwen2", 64), injection="input")
    llm = start(ours, tensor_parallel_size=2, enable_prefix_caching=False)
    batch = prompts(3, 40, 90)
    outputs = write(llm, batch, TOKENS)
    expected = [greedy(ours, prompt, TOKENS) for prompt in batch]
    assert written(outputs) == expected
    assert max(largest_difference(ours, output) for output in outputs) < 1e-4
    assert expected != [greedy(ours, prompt, TOKENS, fusion_weight=0.0) for prompt in batch]
