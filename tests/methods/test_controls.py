"""The controls of the comparison: thoughts on another text, and the loss without a Reasoner."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from flythinker.errors import FlyThinkerError
from flythinker.methods.deep import Deep, middle_loss
from flythinker.methods.flythinker import FlyThinker
from flythinker.methods.late import Exchange, Late
from flythinker.methods.sft import SFT
from flythinker.training.run import DEFAULT_RECIPE, build_trainer
from tiny import random_ids, tiny_flythinker, tiny_generator

OWN_LOSS = "training.draft_loss_weight=0.5"


@torch.no_grad()
def changed(before: torch.Tensor, after: torch.Tensor) -> list[bool]:
    return [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]


@torch.no_grad()
def test_each_text_reads_the_thoughts_of_the_next_one():
    model = tiny_flythinker()
    ids = random_ids(4, 12)
    other = torch.cat([ids[:3], random_ids(1, 12, seed=1)])  # only the last text is another one
    own = changed(model(ids).logits, model(other).logits)
    exchange = Exchange(model)
    exchanged = changed(model(ids).logits, model(other).logits)
    twins = model(ids[:1].expand(2, -1)).logits
    exchange.end()
    assert own == [False, False, False, True]
    assert exchanged == [False, False, True, True]
    # and nothing else is another: a text beside its twin reads its own
    torch.testing.assert_close(twins, model(ids[:1].expand(2, -1)).logits)


def training_batch(trainer):
    rows = [trainer.train_dataset[i] for i in range(3)]
    return trainer.data_collator(rows)


def test_the_reasoners_own_loss_stays_on_its_own_text(configure, make_method):
    def own_loss(recipe) -> float:
        losses = []
        for weight in (0.5, 0.0):
            trainer = build_trainer(configure(f"training.draft_loss_weight={weight}"), recipe)
            trainer.model.train()
            losses.append(trainer.compute_loss(trainer.model, training_batch(trainer)).item())
        return losses[0] - losses[1]

    assert own_loss(make_method(Late).recipe()) == pytest.approx(own_loss(DEFAULT_RECIPE), abs=1e-5)


def test_thoughts_on_another_text_are_trained_and_measured(make_method, held_out):
    late = make_method(Late, OWN_LOSS, "model.projection=pad", folder="late")
    late.train()
    prompts = late.prompts(held_out[:4])
    first, again = (np.concatenate(late.losses(prompts, 2)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    # the model gives its own thoughts back after it was measured
    assert not np.array_equal(np.concatenate(FlyThinker.losses(late, prompts, 2)), first)
    with pytest.raises(FlyThinkerError, match="two texts in a batch"):
        late.losses(prompts[:1], 2)


def test_another_text_has_no_prompt_of_its_own(make_method):
    with pytest.raises(FlyThinkerError, match="reasoner_k"):
        make_method(Late, "prompt.reasoner_k=0").train()


def test_the_middle_loss_is_that_of_half_the_layers():
    generator = tiny_generator()
    half = copy.deepcopy(generator)
    half.model.layers = half.model.layers[:1]
    ids = random_ids(3, 10)
    labels = ids.clone()
    labels[:, :4] = -100
    states = generator(ids, output_hidden_states=True).hidden_states
    logits = half(ids).logits[:, :-1].transpose(1, 2)
    expected = cross_entropy(logits, labels[:, 1:], ignore_index=-100)
    torch.testing.assert_close(middle_loss(generator, states, labels, None), expected)


def test_without_its_weight_the_deep_model_is_sft(make_method, held_out):
    deep, sft = make_method(Deep, folder="deep"), make_method(SFT, folder="sft")
    for method in (deep, sft):
        method.train()
    prompts = sft.prompts(held_out)
    for ours, theirs in zip(deep.losses(prompts, 2), sft.losses(prompts, 2), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_deep_model_learns_at_its_middle(make_method, held_out):
    def loss_at_the_middle(*overrides: str) -> float:
        method = make_method(Deep, "training.max_steps=30", *overrides, folder=f"d{len(overrides)}")
        method.train()
        ids = torch.tensor([method.prompts(held_out)[0].prompt_ids])
        generator = method.personal.model.generator
        with torch.no_grad():
            states = generator(ids, output_hidden_states=True).hidden_states
            return middle_loss(generator, states, ids, None).item()

    assert loss_at_the_middle(OWN_LOSS) < loss_at_the_middle() - 0.1


@torch.no_grad()
def test_a_reasoner_with_its_own_prompt_learns_nothing_of_the_other_prompt():
    """With labels on the whole row its own loss is on the response all the same."""
    model = tiny_flythinker()
    ids, own = random_ids(2, 12), random_ids(2, 9, seed=1)
    own[:, -5:] = ids[:, -5:]  # the response ends both
    response = ids.clone()
    response[:, :7] = -100

    def own_loss(labels: torch.Tensor) -> torch.Tensor:
        whole, none = (
            model(
                ids,
                labels=labels,
                reasoner_input_ids=own,
                prompt_length=torch.tensor([7, 7]),
                num_items_in_batch=10,
                draft_loss_weight=weight,
            ).loss
            for weight in (1.0, 0.0)
        )
        return whole - none

    torch.testing.assert_close(own_loss(ids), own_loss(response), atol=1e-4, rtol=0)
