"""The invariants 1-6 of the design: what must not change the logits, and what must."""

import random

import pytest
import torch
from torch import Tensor

from flythinker import FlyThinkerCache, FlyThinkerForCausalLM
from flythinker.model.cache import CACHE_NAME
from tiny import (
    FAMILIES,
    TOLERANCE,
    VOCAB,
    greedy_by_recomputation,
    padded,
    random_ids,
    tiny_generator,
    tiny_reasoner,
)

PROMPT = 5  # tokens of the prompt, for the injections that ask
LENGTHS = (12, 7, 9)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def rows() -> list[Tensor]:
    return [random_ids(length, seed=length) for length in LENGTHS]


def prompts(batch: int) -> Tensor:
    return torch.full((batch,), PROMPT)


def alone(model: FlyThinkerForCausalLM, row: Tensor) -> Tensor:
    """The logits [seq, vocab] of one row, nothing around it."""
    return model(row[None], prompt_length=prompts(1)).logits[0]


def real(values: Tensor, mask: Tensor) -> list[Tensor]:
    """Each row's values at its real tokens."""
    return [row[keep.bool()] for row, keep in zip(values, mask, strict=True)]


def in_chunks(
    model: FlyThinkerForCausalLM, inputs: dict[str, Tensor], cuts: list[int]
) -> tuple[Tensor, Tensor]:
    """Logits and thoughts of a forward split before the columns `cuts`."""
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    cache, outputs = FlyThinkerCache(model.config), []
    for start, end in zip([0, *cuts], [*cuts, ids.shape[1]], strict=True):
        chunk_mask = None if mask is None else mask[:, :end]
        outputs.append(
            model(
                ids[:, start:end],
                chunk_mask,
                cache=cache,
                prompt_length=prompts(len(ids)),
            )
        )
    assert cache.get_seq_length() == ids.shape[1]
    thoughts = torch.cat([output.thoughts for output in outputs], dim=1)
    torch.testing.assert_close(cache.thoughts, thoughts)
    return torch.cat([output.logits for output in outputs], dim=1), thoughts


# 0. what makes the rest worth testing


def test_thoughts_change_the_logits_exactly_where_they_are_injected(model, variant):
    ids = random_ids(1, 12)
    change = (
        (model(ids, prompt_length=prompts(1)).logits - model(ids, fusion_weight=0).logits)
        .abs()
        .amax((0, 2))
    )

    first_changed = PROMPT if variant.injection == "output" else 1
    assert change[:first_changed].max() == 0
    assert change[first_changed:].min() > 1e-2


# 1. λ = 0


def test_at_weight_zero_the_logits_are_the_generators_bit_for_bit(model, variant, rows):
    generator = tiny_generator(variant.family)
    for inputs in ({"input_ids": rows[0][None]}, padded(rows, "left"), padded(rows, "right")):
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        ours = model(**inputs, fusion_weight=0)
        assert torch.equal(ours.logits, generator(**inputs, position_ids=positions).logits)
        assert ours.thoughts is None


@pytest.mark.parametrize("family", FAMILIES)
def test_without_reasoner_the_model_is_its_generator(family):
    ids = random_ids(2, 9)
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        tiny_generator(family), None, fusion_weight=0
    )
    assert model.reasoner is None
    assert torch.equal(model(ids).logits, tiny_generator(family)(ids).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_linear_projection_leaves_the_generator_as_it_is(family):
    ids = random_ids(2, 9)
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        tiny_generator(family), tiny_reasoner(family, width=16), projection="linear"
    )
    output = model(ids)
    assert torch.equal(output.logits, tiny_generator(family)(ids).logits)
    assert output.thoughts.shape == (2, 9, 16)


# 2. incremental = full


@pytest.mark.parametrize("side", [None, "left"], ids=["unpadded", "left-padded"])
def test_any_split_into_chunks_gives_the_full_forward(model, rows, side):
    inputs = padded(rows, side) if side else {"input_ids": random_ids(2, 12)}
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask", torch.ones_like(ids))
    full = model(**inputs, prompt_length=prompts(len(ids)))
    columns = range(1, ids.shape[1])
    splits = [sorted(random.Random(seed).sample(columns, seed + 1)) for seed in range(3)]

    for cuts in [*splits, list(columns)]:
        logits, thoughts = in_chunks(model, inputs, cuts)
        torch.testing.assert_close(real(logits, mask), real(full.logits, mask), **TOLERANCE)
        torch.testing.assert_close(real(thoughts, mask), real(full.thoughts, mask), **TOLERANCE)


def test_a_cropped_cache_continues_as_if_the_dropped_tokens_had_never_been(model):
    text, other = random_ids(2, 12), random_ids(2, 4, seed=1)
    full = model(text, prompt_length=prompts(2)).logits
    cache = FlyThinkerCache(model.config)
    model(torch.cat([text[:, :7], other], dim=1), cache=cache, prompt_length=prompts(2))

    cache.crop(-4)
    assert cache.get_seq_length() == cache.thoughts.shape[1] == 7
    rest = model(text[:, 7:], cache=cache, prompt_length=prompts(2)).logits
    torch.testing.assert_close(rest, full[:, 7:], **TOLERANCE)


def test_a_cache_follows_its_rows(model):
    text = random_ids(3, 12)
    order = torch.tensor([2, 0, 0, 1])
    full = model(text[order], prompt_length=prompts(4)).logits

    cache = model(text[:, :7], use_cache=True, prompt_length=prompts(3))[CACHE_NAME]
    cache.reorder_cache(order)
    rest = model(text[order, 7:], cache=cache, prompt_length=prompts(4)).logits
    torch.testing.assert_close(rest, full[:, 7:], **TOLERANCE)

    repeated = model(text[:, :7], use_cache=True, prompt_length=prompts(3))[CACHE_NAME]
    repeated.batch_repeat_interleave(2)
    repeated.batch_select_indices(torch.tensor([4, 0, 1, 2]))
    rest = model(text[order, 7:], cache=repeated, prompt_length=prompts(4)).logits
    torch.testing.assert_close(rest, full[:, 7:], **TOLERANCE)


def test_a_reset_cache_reads_a_new_text(model):
    text = random_ids(2, 9)
    cache = model(random_ids(2, 5, seed=1), use_cache=True, prompt_length=prompts(2))[CACHE_NAME]
    cache.reset()
    assert cache.get_seq_length() == 0
    again = model(text, cache=cache, prompt_length=prompts(2)).logits
    torch.testing.assert_close(again, model(text, prompt_length=prompts(2)).logits, **TOLERANCE)
    assert cache.get_seq_length() == cache.thoughts.shape[1] == 9


# 3 and 5. padding and batches


@pytest.mark.parametrize("side", ["left", "right"])
def test_neither_padding_nor_neighbours_change_a_row(model, rows, side):
    inputs = padded(rows, side)
    batched = model(**inputs, prompt_length=prompts(len(rows))).logits
    expected = [alone(model, row) for row in rows]
    torch.testing.assert_close(real(batched, inputs["attention_mask"]), expected, **TOLERANCE)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_content_of_a_padding_token_changes_nothing(model, rows, side):
    first, second = (
        real(model(**inputs, prompt_length=prompts(len(rows))).logits, inputs["attention_mask"])
        for inputs in (padded(rows, side), padded(rows, side, pad_token=77))
    )
    torch.testing.assert_close(first, second, atol=0, rtol=0)


# 4. packing


def test_packed_sequences_are_the_same_sequences_apart(model, rows):
    packed = model(
        torch.cat(rows)[None],
        position_ids=torch.cat([torch.arange(len(row)) for row in rows])[None],
        prompt_length=torch.cat([torch.full_like(row, PROMPT) for row in rows])[None],
    ).logits[0]
    expected = torch.cat([alone(model, row) for row in rows])
    torch.testing.assert_close(packed, expected, **TOLERANCE)


def test_packed_sequences_may_have_prompts_of_different_lengths(model, rows):
    lengths = [3, 5, 4]
    packed = model(
        torch.cat(rows)[None],
        position_ids=torch.cat([torch.arange(len(row)) for row in rows])[None],
        prompt_length=torch.cat(
            [torch.full_like(row, n) for row, n in zip(rows, lengths, strict=True)]
        )[None],
    ).logits[0]
    expected = [
        model(row[None], prompt_length=torch.tensor([n])).logits[0]
        for row, n in zip(rows, lengths, strict=True)
    ]
    torch.testing.assert_close(packed, torch.cat(expected), **TOLERANCE)


# 5. greedy generate


def test_greedy_generate_is_the_argmax_by_full_recomputation(model, rows):
    inputs = padded(rows, "left")
    width = inputs["input_ids"].shape[1]
    written = model.generate(**inputs, max_new_tokens=6, do_sample=False)

    for row, output in zip(rows, written[:, width:], strict=True):
        length = torch.tensor([len(row)])
        expected = greedy_by_recomputation(model, row, 6, prompt_length=length)[len(row) :]
        assert output.tolist()[: len(expected)] == expected


# 6. causality


@pytest.mark.parametrize("place", [1, 4, PROMPT, 9])
def test_a_token_changes_nothing_before_it_and_not_its_own_thought(model, place):
    text = random_ids(1, 12)
    changed = text.clone()
    changed[0, place] = (text[0, place] + 1) % VOCAB
    embeds, outputs = [], []
    model.generator.register_forward_pre_hook(
        lambda part, args, kwargs: embeds.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    table = model.get_input_embeddings()
    for ids in (text, changed):
        outputs.append(model(ids, prompt_length=prompts(1)))
    added = [embed - table(ids) for embed, ids in zip(embeds, (text, changed), strict=True)]

    for name in ("logits", "thoughts"):
        one, two = (getattr(output, name) for output in outputs)
        torch.testing.assert_close(one[:, :place], two[:, :place], **TOLERANCE)
        assert (one[:, place] - two[:, place]).abs().max() > 1e-3
    torch.testing.assert_close(added[0][:, : place + 1], added[1][:, : place + 1], **TOLERANCE)
    if model.config.injection == "global" and place < 11:
        assert (added[0][:, place + 1] - added[1][:, place + 1]).abs().max() > 1e-3


def test_thoughts_depend_on_tokens_alone(model):
    ids = random_ids(1, 9)
    strong, weak = (
        model(ids, fusion_weight=weight, prompt_length=prompts(1)).thoughts for weight in (2.0, 0.1)
    )
    assert torch.equal(strong, weak)
