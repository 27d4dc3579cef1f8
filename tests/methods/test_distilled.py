"""A Reasoner that learns to say what the Generator would have read in a long history."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import kl_div

from flythinker.errors import FlyThinkerError
from flythinker.methods.distilled import Distilled
from flythinker.training.run import build_trainer, run_tokenizer

LONG = ("prompt.k=0", "prompt.reasoner_k=4", "training.max_steps=30")


@pytest.fixture
def trainer(configure, make_method):
    method = make_method(Distilled, *LONG)
    return build_trainer(method.training_config(), method.recipe())


def batch_of(trainer, count):
    return trainer.data_collator([trainer.train_dataset[place] for place in range(count)])


@torch.no_grad()
def test_the_loss_is_how_far_the_short_reader_is_from_the_long_one(trainer):
    """Before it learns the projection is zero, and the student the Generator as it is."""
    rows = [trainer.train_dataset[place] for place in range(3)]
    generator, sums, tokens = trainer.model.generator, 0.0, 0
    for row in rows:  # one by one, without padding
        short, long = (
            generator(torch.tensor([row[name]])).logits[0].log_softmax(-1)
            for name in ("input_ids", "reasoner_ids")
        )
        count = len(row["input_ids"]) - row["prompt_length"]
        mine, theirs = short[-count - 1 : -1], long[-count - 1 : -1]
        sums += kl_div(mine, theirs, reduction="sum", log_target=True).item()
        tokens += count
    for training in (True, False):
        trainer.model.train(training)
        loss = trainer.compute_loss(trainer.model, batch_of(trainer, 3)).item()
        if not training:  # the Trainer's mean over rows is then one over tokens
            loss *= trainer._labels_per_row() * 3 / tokens
        assert loss == pytest.approx(sums / tokens, rel=1e-4)
        assert loss > 0.01


def test_it_comes_nearer_and_the_generator_stays_as_it_is(trainer):
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    far = trainer.evaluate(trainer.train_dataset)["eval_loss"]
    trainer.train()
    assert trainer.evaluate(trainer.train_dataset)["eval_loss"] < 0.95 * far
    after = dict(trainer.model.named_parameters())
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"reasoner", "projection"}


def test_the_control_reads_another_authors_history(make_method, examples):
    two_authors = [*examples[1:4], replace(examples[9], user_id="another")]

    def rows(swapped):
        method = make_method(Distilled, *LONG, swapped=swapped)
        tokenizer = run_tokenizer(method.config)
        return method.recipe().encode(two_authors, tokenizer, method.config.prompt)

    for own, another in zip(rows(False), rows(True), strict=True):
        response = own["input_ids"][own["prompt_length"] :]
        assert own["input_ids"] == another["input_ids"]
        assert own["reasoner_ids"] != another["reasoner_ids"]
        assert another["reasoner_ids"][-len(response) :] == response


def test_it_needs_two_prompts(make_method):
    with pytest.raises(FlyThinkerError, match="reasoner_k"):
        make_method(Distilled).train()
