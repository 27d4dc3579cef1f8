"""Batches, chunks, cached prefixes, several answers: vLLM writes what transformers writes."""

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

import copy
from pathlib import Path
from typing import Any

from parity import config, greedy, largest_difference, model, prompts, write, written
from transformers import AutoModelForCausalLM

from flythinker import FlyThinkerForCausalLM
from flythinker.model.parts import load_reasoner

TOKENS = 24
LENGTHS = (1, 7, 33, 64, 100, 150)  # in chunks of 32 tokens, more texts than vLLM takes at a time


@pytest.fixture(scope="module")
def ours() -> FlyThinkerForCausalLM:
    return model(config("llama", 64), config("llama", 32))


@pytest.fixture(scope="module")
def llm(start: Any, ours: FlyThinkerForCausalLM) -> Any:
    return start(ours)


def test_thoughts_decide_what_is_written(ours: FlyThinkerForCausalLM) -> None:
    """Else nothing below would show a missing thought."""
    for prompt in prompts(*LENGTHS):
        assert greedy(ours, prompt, TOKENS) != greedy(ours, prompt, TOKENS, fusion_weight=0.0)


def test_one_text_at_a_time(llm: Any, ours: FlyThinkerForCausalLM) -> None:
    for prompt in prompts(5, 90, seed=1):
        output = write(llm, [prompt], TOKENS)
        assert written(output) == [greedy(ours, prompt, TOKENS)]
        assert largest_difference(ours, output[0]) < 1e-4


def test_a_mixed_batch(llm: Any, ours: FlyThinkerForCausalLM) -> None:
    batch = prompts(*LENGTHS, seed=2)
    outputs = write(llm, batch, TOKENS)
    assert written(outputs) == [greedy(ours, prompt, TOKENS) for prompt in batch]
    assert max(largest_difference(ours, output) for output in outputs) < 1e-4


def test_a_cached_prefix(llm: Any, ours: FlyThinkerForCausalLM) -> None:
    """The first token after it takes its thought from a page that another request wrote."""
    prefix, *ends = prompts(96, 1, 9, seed=3)
    write(llm, [prefix], 1)
    for end in ends:
        output = write(llm, [prefix + end], TOKENS)
        assert output[0].num_cached_tokens == 96
        assert written(output) == [greedy(ours, prefix + end, TOKENS)]
        assert largest_difference(ours, output[0]) < 1e-4


def test_several_answers_to_one_prompt(llm: Any, ours: FlyThinkerForCausalLM) -> None:
    output = write(llm, prompts(50, seed=4), TOKENS, n=3, temperature=1.0)[0]
    assert len({tuple(text.token_ids) for text in output.outputs}) == 3
    assert largest_difference(ours, output) < 1e-4


def test_a_table_that_both_parts_share(start: Any) -> None:
    written_by = AutoModelForCausalLM.from_config(config("llama", 64)).eval()
    shared = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        written_by, load_reasoner(copy.deepcopy(written_by), layers=1), share_embeddings=True
    )
    batch = prompts(*LENGTHS, seed=5)
    outputs = write(start(shared), batch, TOKENS)
    assert written(outputs) == [greedy(shared, prompt, TOKENS) for prompt in batch]


@pytest.mark.slow
def test_compiled_parts_of_one_size(
    start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """vLLM keeps compiled graphs by config; those of two equal configs are still two."""
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))
    same = model(config("llama", 64), config("llama", 64))
    batch = prompts(*LENGTHS, seed=6)
    outputs = write(start(same, enforce_eager=False), batch, TOKENS)
    assert written(outputs) == [greedy(same, prompt, TOKENS) for prompt in batch]
    assert len(list(tmp_path.glob("torch_compile_cache/torch_aot_compile/*/rank_0_0"))) == 2
