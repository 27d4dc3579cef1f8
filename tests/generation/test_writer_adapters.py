"""Persons side by side, each with their own adapter: each text is the one that they have alone."""

import copy
from dataclasses import replace

import pytest
import torch
from test_writer import Always, make_twins
from writers import GREEDY, alone, finish, make_writer

from flythinker import FlyThinkerForCausalLM
from flythinker.data.prompt import build_prompt
from flythinker.errors import FlyThinkerError
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.model_folder import PersonalModel, load_tokenizer
from random_adapters import merged, random_adapter
from tiny import tiny_generator, tiny_reasoner

PARTS = ("reasoner", "generator")
SAMPLED = Sampling(20, temperature=0.9, top_p=0.95, seed=3)


@pytest.fixture(params=["fused", "gpt2"])
def either(request, personal, backbone) -> PersonalModel:
    """A model by layers of our own, and one by those of its family."""
    if request.param == "fused":
        return personal
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        tiny_generator("gpt2", vocab=500), tiny_reasoner("gpt2", width=16, vocab=500), 0.5,
        projection="linear",
    )  # fmt: skip
    torch.nn.init.normal_(model.projection.weight, std=0.25)
    prompt = replace(personal.prompt, k=1, profile_tokens=30, query_tokens=20, response_tokens=20)
    return PersonalModel(model.eval(), load_tokenizer(str(backbone)), prompt, {})


def asked(personal, examples, part):
    """Seven prompts and adapters: of four persons, two of them twice, and of one without."""
    prompts = [build_prompt(e, personal.tokenizer, personal.prompt) for e in examples[:7]]
    of = [random_adapter(personal.model, part, seed, rank=2 + seed) for seed in range(4)]
    return prompts, [of[0], of[1], None, of[2], of[0], of[3], of[1]]


def write(writer, prompts, adapters, sampling):
    """All texts, submitted at once."""
    texts = [
        writer.submit(prompt, sampling.for_text(i), "all of them", adapter)
        for i, (prompt, adapter) in enumerate(zip(prompts, adapters, strict=True))
    ]
    finish(writer)
    return [text.text.strip() for text in texts]


def each_alone(personal, prompts, adapters, sampling):
    """The texts of transformers' `generate`, each by a model with its adapter merged."""
    return [
        alone(replace(personal, model=merged(personal.model, adapter)), p, sampling.for_text(i))
        for i, (p, adapter) in enumerate(zip(prompts, adapters, strict=True))
    ]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_texts_side_by_side_are_those_alone(either, examples, part, sampling):
    prompts, adapters = asked(either, examples, part)
    expected = each_alone(either, prompts, adapters, sampling)
    without = [alone(either, prompt, sampling.for_text(i)) for i, prompt in enumerate(prompts)]
    changed = [a != b for a, b in zip(expected, without, strict=True)]
    assert changed[2] is False
    assert sum(changed) > 3
    writer = make_writer(either, slots=3)
    assert write(writer, prompts, adapters, sampling) == expected
    # once more, from prompts that were read before
    assert write(writer, prompts, adapters, sampling) == expected
    assert writer.runner.prefixes.hits > 0
    assert write(make_writer(either, slots=1), prompts, adapters, sampling) == expected
    assert write(make_writer(either, slots=7), prompts, adapters, sampling) == expected


@pytest.mark.parametrize("source", ["lookup", "reasoner"])
@pytest.mark.parametrize("part", PARTS)
def test_drafts_change_nothing(personal, examples, part, source):
    sampling = replace(GREEDY, max_new_tokens=60, min_new_tokens=60)
    if source == "reasoner":
        make_twins(personal.model)
    prompts, _ = asked(personal, examples, part)
    of = [random_adapter(personal.model, part, seed, size=0.05) for seed in range(2)]
    adapters = [of[0], None, of[1], of[0], of[1], None, of[1]]
    expected = each_alone(personal, prompts, adapters, sampling)
    drafting = make_writer(personal, slots=3, draft_tokens=9)
    drafting.draft_choice = Always(source)
    assert write(drafting, prompts, adapters, sampling) == expected
    assert 0 < drafting.accepted < drafting.drafted


@pytest.mark.parametrize("part", PARTS)
def test_effects_are_those_of_the_persons_own_thoughts(either, examples, part):
    prompts, adapters = asked(either, examples, part)
    asking = replace(GREEDY, max_new_tokens=8, effects=True)
    writer = make_writer(either, slots=5)
    texts = [
        writer.submit(prompt, asking, "", adapter)
        for prompt, adapter in zip(prompts, adapters, strict=True)
    ]
    finish(writer)
    for text, adapter in zip(texts, adapters, strict=True):
        model = merged(either.model, adapter)
        single = Writer(replace(either, model=model), slots=2)
        same = single.submit(text.prompt, asking)
        finish(single)
        assert text.token_ids == same.token_ids
        for one, other in zip(text.effects, same.effects, strict=True):
            assert one.kl == pytest.approx(other.kl, abs=1e-4)
            assert one.words == other.words


def test_a_reasoner_with_a_prompt_of_its_own(personal, examples):
    own = replace(personal.prompt, k=0, reasoner_k=2, reasoner_profile_tokens=80)
    personal = replace(personal, prompt=own)
    for part in PARTS:
        prompts, adapters = asked(personal, examples, part)
        expected = each_alone(personal, prompts, adapters, GREEDY)
        writer = make_writer(personal, slots=3)
        for _ in range(2):
            assert write(writer, prompts, adapters, GREEDY) == expected


def test_adapters_of_both_parts_in_one_step(personal, examples):
    prompts, _ = asked(personal, examples, "reasoner")
    parts = ["reasoner", "generator", None, "generator", "reasoner", None, "reasoner"]
    adapters = [part and random_adapter(personal.model, part, i) for i, part in enumerate(parts)]
    expected = each_alone(personal, prompts, adapters, GREEDY)
    assert write(make_writer(personal, slots=4), prompts, adapters, GREEDY) == expected


def test_an_adapter_of_another_model_is_refused_and_nothing_waits(personal, prompts):
    other = copy.deepcopy(personal.model)
    with torch.no_grad():
        other.reasoner.get_submodule("layers.0.self_attn.q_proj").weight.mul_(1.5)
    writer = make_writer(personal)
    with pytest.raises(FlyThinkerError, match="adapter of person 0: made for another model"):
        writer.submit(prompts[0], GREEDY, "", random_adapter(other))
    assert writer.idle
