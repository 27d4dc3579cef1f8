"""Rows with an adapter each, against adapters merged into the weights."""

import copy
from dataclasses import replace

import pytest
import torch
from given_texts import GivenTexts
from torch import nn
from torch.testing import assert_close

from flythinker import FlyThinkerForCausalLM
from flythinker.adapter import Adapter, merge_changes
from flythinker.errors import FlyThinkerError
from flythinker.generation.cpu.int8 import round_to_int8
from flythinker.generation.runner import Runner
from random_adapters import merged, random_adapter
from tiny import PLAIN, TOLERANCE, Variant, random_ids, tiny_flythinker

LENGTHS = (5, 9, 4, 7)
FUSED, OTHER = Variant("llama", projection="linear"), Variant("gpt2", "global", 16, "linear")
VARIANTS = [FUSED, Variant("qwen2", "output"), Variant("gemma", projection="linear"), OTHER]
PARTS = ("reasoner", "generator")


def adapters_of(model, part):
    """Of four rows: one of them without, and two of another rank."""
    ranks = (4, None, 2, 7)
    return [rank and random_adapter(model, part, seed, rank) for seed, rank in enumerate(ranks)]


@torch.inference_mode()
def expected(model, ids, prompt_length):
    return model(ids[None], prompt_length=torch.tensor([prompt_length])).logits[0]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_each_row_is_read_as_with_its_adapter_merged(variant, part):
    model = tiny_flythinker(variant)
    adapters = adapters_of(model, part)
    texts = [random_ids(length + 6, seed=length) for length in LENGTHS]
    pairs = list(zip(texts, LENGTHS, strict=True))
    models = [merged(model, adapter) for adapter in adapters]
    full = [expected(one, *pair) for one, pair in zip(models, pairs, strict=True)]
    assert (full[0][-1] - expected(model, *pairs[0])[-1]).abs().max() > 0.1
    given = GivenTexts(copy.deepcopy(model), 4)
    for (text, n), logits, adapter in zip(pairs, full, adapters, strict=True):
        assert_close(given.join(text[:n].tolist(), adapter=adapter), logits[n - 1], **TOLERANCE)
    rows = [0, 1, 2, 3]

    def read(start: int, tokens: int) -> None:
        """All texts' tokens from so many after their prompts on."""
        spans = [slice(LENGTHS[i] + start, LENGTHS[i] + start + tokens) for i in rows]
        ids = torch.stack([texts[i][span] for i, span in zip(rows, spans, strict=True)])
        for i, span, logits in zip(rows, spans, given.read(ids), strict=True):
            assert_close(logits, full[i][span], **TOLERANCE)

    read(0, 1)
    read(1, 3)  # as drafts are read
    given.leave(0)  # the last one moves there
    rows = [3, 1, 2]
    read(4, 1)
    given.leave(1)
    rows = [3, 2]  # all rows have one
    read(5, 1)


@pytest.mark.parametrize("part", PARTS)
def test_adapters_beside_layers_in_int8(part):
    model = tiny_flythinker(FUSED)
    adapters = adapters_of(model, part)
    rounded = copy.deepcopy(model)
    for name, layer in rounded.named_modules():
        if isinstance(layer, nn.Linear) and name.startswith(part) and "head" not in name:
            weight, scale = round_to_int8(layer.weight.detach())
            layer.weight.data = weight.float() * scale[:, None]
    given = GivenTexts(model, 4, int8=[part])
    head = "generator.lm_head"
    weight, scale = round_to_int8(rounded.get_submodule(head).weight.detach())
    for adapter, n in zip(adapters, LENGTHS, strict=True):
        whole = copy.deepcopy(rounded)
        if part == "generator":
            whole.generator.lm_head.weight = nn.Parameter(weight.float() * scale[:, None])
        if adapter is not None:
            merge_changes(whole, adapter.changes, adapter.about.scale)
        text = random_ids(n, seed=n)
        logits = given.join(text.tolist(), adapter=adapter)
        assert_close(logits, expected(whole, text, n)[-1], **TOLERANCE)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("variant", [FUSED, OTHER], ids=str)
def test_what_the_reasoner_drafts_it_drafts_with_the_adapter(variant, part):
    model = tiny_flythinker(variant)
    adapters = adapters_of(model, part)
    models = [merged(model, adapter) for adapter in adapters]
    given = GivenTexts(copy.deepcopy(model), 4)
    texts = [random_ids(n, seed=n) for n in LENGTHS]
    for text, adapter in zip(texts, adapters, strict=True):
        given.join(text.tolist(), adapter=adapter)
    news = random_ids(4, seed=3)[:, None]
    ids, logits = given.draft(news, 3, [2, 4, 1, 3])
    for row, (text, one) in enumerate(zip(texts, models, strict=True)):
        read = torch.cat([text, ids[row]])
        assert_close(logits[row], expected(one, read, len(text))[-4:], **TOLERANCE)
        with torch.inference_mode():
            guesses = one.draft_logits(one(read[None]).reasoner_hidden_state)
        assert ids[row, 1:].tolist() == guesses[0].argmax(-1)[-4:-1].tolist()


def warm(model, prompts):
    """Read prompts (ids, owner, adapter), one after the other, in one Runner with a memory."""
    given = GivenTexts(copy.deepcopy(model), 1, prefix_bytes=2**24)
    logits = []
    for ids, owner, adapter in prompts:
        logits.append(given.join(ids, owner=owner, adapter=adapter))
        given.leave(0)
    return logits, given.runner.prefixes


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("variant", [FUSED, OTHER], ids=str)
def test_what_was_read_with_another_adapter_is_not_used(variant, part):
    model = tiny_flythinker(variant)
    first, second = (random_adapter(model, part, seed) for seed in (1, 2))
    again = Adapter(first.about, {n: (a.clone(), b.clone()) for n, (a, b) in first.changes.items()})
    ids = random_ids(24).tolist()
    # the same text, once more with a loaded copy, and what begins as it
    prompts = [(ids, "me", each) for each in (None, first, second, again, None)]
    prompts.append(([*ids, 7, 8], "me", second))
    logits, prefixes = warm(model, prompts)
    for (read, _, adapter), got in zip(prompts, logits, strict=True):
        whole = expected(merged(model, adapter), torch.tensor(read), len(read))
        assert_close(got, whole[-1], **TOLERANCE)
    # the Reasoner reads as ever what only the Generator reads with an adapter
    shared = {"reasoner": 0, "generator": 2 * 23}[part]
    assert prefixes.hits == 2 * (23 + 23 + 24) + shared


def test_an_adapter_of_the_reasoner_is_none_of_a_prompt_without_thoughts():
    model = tiny_flythinker(PLAIN._replace(injection="output"))
    ids = random_ids(24).tolist()
    prompts = [(ids, "me", each) for each in (None, random_adapter(model))]
    _, prefixes = warm(model, prompts)
    assert prefixes.hits == 23  # the Generator's


def hooks(runner):
    modules = [runner.generator._fused, runner.reasoner._fused, runner.fusion.projection]
    return sum(len(each._forward_hooks) for module in modules for each in module.modules())


def test_a_pass_without_adapters_knows_nothing_of_them():
    model = tiny_flythinker(FUSED)
    given = GivenTexts(copy.deepcopy(model), 2)
    assert hooks(given.runner) == 0
    given.join([5, 6, 7], adapter=random_adapter(model))
    assert hooks(given.runner) == 2 * 4 + 1  # the Reasoner's layers and the projection
    given.join([5, 6, 7])
    assert hooks(given.runner) == 0
    given.read(torch.tensor([[8], [8]]))
    assert hooks(given.runner) == 9
    given.leave(0)
    given.read(torch.tensor([[8]]))
    assert hooks(given.runner) == 0


def test_what_cannot_be_changed_for_a_row_is_one_line():
    model = tiny_flythinker(FUSED)
    adapter = random_adapter(model)
    other = random_adapter(tiny_flythinker(FUSED, seed=5))
    check = Runner.take_over(model, 1).adapters.check
    check(adapter)
    with pytest.raises(FlyThinkerError, match=r"person 0: made for another model \(its reasoner"):
        check(other)
    name = "reasoner.layers.1.mlp.up_proj"
    a, b = adapter.changes[name]
    for sides in ((a[:, :-1], b), (a, b[:-1]), (a[:1], b)):
        with pytest.raises(FlyThinkerError, match=f"its {name} has another size"):
            check(Adapter(adapter.about, {name: sides}))
    with pytest.raises(FlyThinkerError, match="no_layer does not read texts row by row"):
        check(Adapter(adapter.about, {"no_layer": (a, b)}))
    check(Adapter(adapter.about, {"no_layer": (a, torch.zeros_like(b))}))


def test_a_generator_alone_takes_its_own_adapters_only():
    generator = tiny_flythinker(PLAIN).generator
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        generator, None, fusion_weight=0
    )
    adapter = random_adapter(model, "generator")
    check = Runner.take_over(copy.deepcopy(model), 1).adapters.check
    check(adapter)
    with pytest.raises(FlyThinkerError, match="its reasoner has other weights"):
        check(Adapter(replace(adapter.about, part="reasoner"), adapter.changes))
