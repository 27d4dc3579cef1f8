"""What the Generator reads, against the paper's formula written out by hand."""

import pytest
import torch
from torch import Tensor, nn

from flythinker.model.fusion import fuse, mean_embedding_norm, rescale, shift, thought_gate
from tiny import random_ids, tiny_generator

PROMPT = 5


@torch.no_grad()
def test_the_generator_reads_the_papers_sum(model, variant):
    read: list[Tensor] = []
    model.generator.register_forward_pre_hook(
        lambda part, args, kwargs: read.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    ids = random_ids(1, 9)
    thoughts = model(ids, fusion_weight=0.7, prompt_length=torch.tensor([PROMPT])).thoughts[0]

    embedding = model.get_input_embeddings()
    table = embedding(torch.arange(model.config.vocab_size))
    norm = sum(row.norm() for row in table) / len(table)
    receives = {
        "global": range(1, 9),
        "input": range(1, PROMPT),
        "output": range(PROMPT, 9),
    }[variant.injection]
    for p, token in enumerate(ids[0]):
        expected = table[token].clone()
        if p in receives:
            thought = thoughts[p - 1]
            torch.testing.assert_close(thought.norm(), norm, atol=1e-5, rtol=0)
            if model.projection is not None:
                thought = model.projection.weight @ thought
            expected[: len(thought)] += 0.7 * thought
        torch.testing.assert_close(read[0][0, p], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_thought_is_the_reasoners_last_hidden_state_rescaled(model):
    ids = random_ids(2, 9)
    output = model(ids, prompt_length=torch.tensor([4, 4]))
    hidden = model.reasoner(ids).last_hidden_state
    assert torch.equal(output.reasoner_hidden_state, hidden)
    norm = mean_embedding_norm(model.get_input_embeddings())
    expected = hidden / hidden.norm(dim=-1, keepdim=True) * norm
    torch.testing.assert_close(output.thoughts, expected)


def test_gemmas_embedding_scale_counts():
    embedding = tiny_generator("gemma").get_input_embeddings()
    plain = embedding.weight.norm(dim=-1).mean()
    torch.testing.assert_close(mean_embedding_norm(embedding), plain * 32**0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rescaled_thought_has_the_given_norm(dtype):
    thoughts = torch.randn(2, 3, 8).to(dtype)
    scaled = rescale(thoughts, torch.tensor(3.0))
    assert scaled.dtype == dtype
    torch.testing.assert_close(
        scaled.float().norm(dim=-1), torch.full((2, 3), 3.0), atol=2e-2, rtol=0
    )


def test_a_zero_thought_stays_zero():
    assert torch.equal(rescale(torch.zeros(1, 1, 8), torch.tensor(3.0)), torch.zeros(1, 1, 8))


def test_no_gradient_flows_through_the_norms():
    thoughts, upstream = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 3, 8)
    embedding = nn.Embedding(5, 8)
    norm = mean_embedding_norm(embedding)
    (rescale(thoughts, norm) * upstream).sum().backward()

    factor = norm / thoughts.detach().norm(dim=-1, keepdim=True)
    torch.testing.assert_close(thoughts.grad, upstream * factor)
    assert embedding.weight.grad is None


def test_shift_moves_right_by_one_across_the_border_to_the_cache():
    thoughts, last = torch.randn(2, 3, 4), torch.randn(2, 1, 4)
    assert torch.equal(shift(thoughts, last), torch.cat([last, thoughts[:, :2]], dim=1))
    assert torch.equal(shift(thoughts, None)[:, 0], torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("positions", "mask", "expected"),
    [
        pytest.param([0, 1, 2, 3], None, [0, 1, 1, 1], id="unpadded"),
        pytest.param([0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1], id="left-padded"),
        pytest.param([0, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 0], id="right-padded"),
        pytest.param([0, 1, 0, 1], None, [0, 1, 0, 1], id="packed"),
        pytest.param([2, 3], [0, 1, 1, 1, 1], [1, 1], id="behind a cache"),
        pytest.param([3, 4], [1, 1, 1, 0, 1], [0, 0], id="padding between"),
    ],
)
def test_the_first_token_and_padding_receive_no_thought(positions, mask, expected):
    mask = None if mask is None else torch.tensor([mask])
    gate = thought_gate(torch.tensor([positions]), mask, "global", None)
    assert gate.tolist() == [[bool(value) for value in expected]]


def test_fusion_keeps_the_dtype_of_the_embeddings():
    embeds = torch.randn(1, 2, 8, dtype=torch.bfloat16)
    gate = torch.ones(1, 2, dtype=torch.bool)
    assert fuse(embeds, torch.randn(1, 2, 4), gate, torch.tensor(0.5), None).dtype == torch.bfloat16
