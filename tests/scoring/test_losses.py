import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from flythinker import FlyThinkerForCausalLM
from flythinker.data.batch import IGNORED, Collator, Row
from flythinker.data.prompt import text_ids
from flythinker.errors import FlyThinkerError
from flythinker.scoring.losses import (
    character_statistics,
    difference_by_position,
    held_out_loss,
    load_characters,
    loss_by_position,
    response_characters,
    save_losses,
    token_losses,
)

VOCABULARY = 97


def tiny_llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module", params=["global", "output"])
def model(request) -> FlyThinkerForCausalLM:
    return FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        tiny_llama(0), tiny_llama(1), fusion_weight=0.5, injection=request.param
    )


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    rng = np.random.default_rng(0)
    rows = []
    for prompt, response in [(5, 9), (12, 3), (1, 20), (7, 1), (3, 14)]:
        ids = rng.integers(3, VOCABULARY, prompt + response).tolist()
        labels = [IGNORED] * prompt + ids[prompt:]
        rows.append(Row(input_ids=ids, labels=labels, prompt_length=prompt, length=len(ids)))
    return rows


def test_losses_are_the_full_cross_entropy_of_each_row_by_itself(model, rows):
    losses = token_losses(model, rows, Collator(pad_token_id=0), batch_size=2)
    for row, nats in zip(rows, losses, strict=True):
        prompt = row["prompt_length"]
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            logits = model(ids, prompt_length=torch.tensor([prompt])).logits[0]
        expected = -log_softmax(logits[prompt - 1 : -1], dim=-1)
        expected = expected.gather(1, ids[0, prompt:, None]).flatten()
        assert nats.dtype == np.float32
        np.testing.assert_allclose(nats, expected.numpy(), atol=1e-4)


def test_the_batch_size_changes_nothing(model, rows):
    one = token_losses(model, rows, Collator(pad_token_id=0), batch_size=1)
    for batch_size in (2, 5, 8):
        batched = token_losses(model, rows, Collator(pad_token_id=0), batch_size=batch_size)
        for ours, theirs in zip(batched, one, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_progress_goes_to_stderr_only(model, rows, capsys):
    token_losses(model, rows, Collator(pad_token_id=0), description="measuring")
    assert capsys.readouterr().out == ""


def test_held_out_loss_weighs_tokens_not_examples():
    losses = [np.array([1, 1, 1], np.float32), np.array([5], np.float32)]
    assert held_out_loss(losses) == pytest.approx(2)


def test_characters_are_those_of_the_text_without_its_end(backbone):
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    texts = ["naïve – “café”", " two  spaces .", "<|im_end|> typed"]
    ids = [text_ids(tokenizer, text) for text in texts]
    ended = [[*row, tokenizer.eos_token_id] for row in ids]
    lengths = [len(text) for text in texts]
    assert response_characters(ids, tokenizer) == lengths
    assert response_characters(ended, tokenizer) == lengths


def test_characters_are_kept_beside_the_losses(tmp_path):
    losses = [np.array([1, 2], np.float32), np.array([3], np.float32)]
    save_losses(tmp_path / "with.npz", losses, [5, 4])
    save_losses(tmp_path / "without.npz", losses)
    assert load_characters(tmp_path / "with.npz") == [5, 4]
    assert load_characters(tmp_path / "without.npz") is None
    statistics = character_statistics(losses, [5, 4])
    assert statistics.tolist() == [[3, 5], [3, 4]]


def test_no_tokens_is_an_error():
    with pytest.raises(FlyThinkerError, match="no labelled token"):
        held_out_loss([np.array([], np.float32)])


def test_positions_count_the_examples_that_reach_them():
    losses = [np.arange(n, dtype=np.float32) for n in (10, 20, 25)]
    first, second, third = loss_by_position(losses, width=10)
    assert (first.start, first.end, first.n_tokens, first.n_examples) == (0, 10, 30, 3)
    assert first.mean == pytest.approx(4.5)
    assert (second.n_tokens, second.n_examples) == (20, 2)
    assert second.mean == pytest.approx(14.5)
    assert (third.start, third.end, third.n_tokens, third.n_examples) == (20, 30, 5, 1)
    assert third.mean == pytest.approx(22)
    total = sum(s.mean * s.n_tokens for s in (first, second, third)) / 55
    assert held_out_loss(losses) == pytest.approx(total)


def test_differences_by_position_are_paired():
    rng = np.random.default_rng(0)
    baseline = [rng.gamma(2, 2, n) for n in rng.integers(20, 40, 30)]
    ours = [nats - 0.01 * (np.arange(len(nats)) < 10) for nats in baseline]
    first, second, *_ = difference_by_position(ours, baseline, width=10)
    assert first.difference == pytest.approx(-0.01)
    assert first.significant
    assert second.difference == 0
