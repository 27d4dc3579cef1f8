"""Which way a part reads slots, and what is said of one that cannot."""

from inspect import signature

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface, MambaConfig, MambaForCausalLM

from flythinker import FlyThinkerForCausalLM
from flythinker.errors import FlyThinkerError
from flythinker.generation import slot_way as module
from flythinker.generation.cache.attention import GROUPED, grouped_attention, slot_mask
from flythinker.generation.runner import Runner
from flythinker.generation.slot_way import NoSlots, slot_way
from flythinker.model.cache import CACHE_NAME
from tiny import random_ids, tiny_flythinker, tiny_generator


@pytest.mark.skipif(
    CACHE_NAME not in signature(MambaForCausalLM.forward).parameters,
    reason="this transformers' Mamba has no cache of the kind that `generate` keeps",
)
def test_layers_that_keep_something_else_are_named_and_nothing_is_used_up():
    config = MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=8)
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        MambaForCausalLM(config).eval(), None, fusion_weight=0
    )
    with pytest.raises(NoSlots, match=r"^MambaForCausalLM: layer 0 \(linear_attention\) keeps"):
        Runner.take_over(model, 1)
    model.generate(torch.tensor([[2, 3, 4]]), max_new_tokens=2)


def test_positions_that_depend_on_the_longest_text_are_refused():
    part = tiny_generator()
    part.config.rope_parameters["rope_type"] = "dynamic"
    with pytest.raises(NoSlots, match=r"rotary positions \(dynamic\) depend on the longest text"):
        slot_way(part)


def another_scale(*inputs, **others):
    return grouped_attention(*inputs, **{**others, "scaling": 1})


def mask_of_the_longest_row(*arguments, q_offset, **others):
    return slot_mask(*arguments, q_offset=q_offset.max().expand(len(q_offset)), **others)


@pytest.mark.parametrize(
    ("attention", "mask"),
    [
        (another_scale, slot_mask),
        (grouped_attention, mask_of_the_longest_row),
    ],
    ids=["another scale", "another row's mask"],
)
def test_a_way_that_computes_something_else_is_not_taken(monkeypatch, attention, mask):
    part = tiny_generator("gemma")
    assert slot_way(part).attention == GROUPED
    AttentionInterface.register("wrong", attention)
    AttentionMaskInterface.register("wrong", mask)
    monkeypatch.setattr(module, "_ways", lambda part: ["wrong"])
    own = part.config._attn_implementation
    with pytest.raises(NoSlots, match="do not read several texts side by side"):
        slot_way(part)
    assert part.config._attn_implementation == own


def test_a_family_that_reads_no_embeddings_is_refused_when_it_is_joined():
    part = tiny_generator()
    part.model.forward = lambda input_ids, cache=None: None
    with pytest.raises(ValueError, match="reads tokens, not embeddings"):
        FlyThinkerForCausalLM.from_generator_reasoner_pretrained(part, None, fusion_weight=0)


def test_int8_is_of_models_that_read_slots(monkeypatch):
    model = tiny_flythinker()
    model.generator.config.rope_parameters["rope_type"] = "dynamic"
    with pytest.raises(FlyThinkerError, match="depend on the longest text"):
        Runner.take_over(model, 1, int8=("generator",))
    assert model(random_ids(1, 4)).logits.shape[1] == 4
