import math
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Trainer,
    TrainingArguments,
    set_seed,
)

from flythinker.data.batch import IGNORED, Collator
from flythinker.training.trainer import EpochSeededSampler, part_of, predicting_columns

SFT = ("model.reasoner=null", "model.fusion_weight=0", "model.reasoner_layers=null")
PAD = ("model.projection=pad",)


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


# the optimizer and its parts


def test_each_part_has_its_learning_rate_and_each_parameter_one_group(make_trainer):
    trainer = make_trainer(
        "training.learning_rate=1e-3",
        "training.reasoner_learning_rate=2e-3",
        "training.projection_learning_rate=3e-3",
        "training.weight_decay=0.1",
    )
    groups = trainer.create_optimizer().param_groups
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(names)
    rates = {"generator": 1e-3, "reasoner": 2e-3, "projection": 3e-3}
    for group in groups:
        for parameter in group["params"]:
            assert group["lr"] == rates[part_of(names[parameter])]
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), {1e-3}),
        (("training.reasoner_learning_rate=2e-3",), {1e-3, 2e-3}),
        (("training.reasoner_learning_rate=0",), {1e-3, 0.0}),  # 0 is a rate, not "unset"
        (("training.projection_learning_rate=0",), {1e-3, 0.0}),
    ],
)
def test_learning_rates_that_are_not_given(make_trainer, overrides, expected):
    groups = make_trainer("training.learning_rate=1e-3", *overrides).create_optimizer().param_groups
    assert {group["lr"] for group in groups} == expected


def test_part_of_a_name_that_belongs_to_no_part():
    with pytest.raises(ValueError, match="belongs to no part"):
        part_of("encoder.weight")


@pytest.mark.parametrize("frozen", ["generator", "reasoner"])
@pytest.mark.parametrize("lora", [(), ("lora.r=4",)])
def test_a_frozen_part_keeps_its_weights_bit_for_bit(make_trainer, frozen, lora):
    trainer = make_trainer(f"training.freeze_{frozen}=true", "training.max_steps=3", *PAD, *lora)
    before = weights(trainer.model)
    trainer.train()
    changed = {
        part_of(name)
        for name, parameter in trainer.model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert changed == {"generator", "reasoner"} - {frozen}


# the thoughts' weight


def test_fusion_weight_ramps_with_the_steps(make_trainer):
    trainer = make_trainer(
        "training.fusion_warmup_steps=4",
        "training.max_steps=6",
        "training.gradient_accumulation_steps=2",
    )
    seen = []
    trainer.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["fusion_weight"]), with_kwargs=True
    )
    trainer.train()
    steps = [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    assert seen == [weight for weight in steps for _ in range(2)]


def test_without_a_ramp_the_fusion_weight_is_the_models(make_trainer):
    assert make_trainer("model.fusion_weight=0.7").fusion_weight() == 0.7


# the loss


def test_sft_is_plain_training_of_the_generator(make_trainer, configure, tmp_path):
    settings = ("training.train_sampling_strategy=random", "training.num_train_epochs=2")
    ours = make_trainer(*SFT, *settings)
    ours.train()

    config = configure(*SFT, *settings)
    set_seed(config.training.seed)
    collate = Collator(ours.processing_class.eos_token_id)
    plain = Trainer(
        model=AutoModelForCausalLM.from_pretrained(config.model.generator),
        args=TrainingArguments(
            output_dir=str(tmp_path / "plain"),
            num_train_epochs=2,
            per_device_train_batch_size=2,
            learning_rate=3e-3,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            remove_unused_columns=False,
            use_cpu=True,
        ),
        train_dataset=ours.train_dataset,
        data_collator=lambda rows: {
            key: value for key, value in collate(rows).items() if key != "prompt_length"
        },
    )
    plain.train()
    assert len(losses(plain)) == 20
    assert losses(ours) == pytest.approx(losses(plain), abs=1e-5)
    trained = ours.model.generator.state_dict()
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(trained[name], value, atol=1e-5, rtol=0)


def test_logits_only_at_labelled_columns_give_the_same_loss_and_gradient(make_trainer):
    trainer = make_trainer(*PAD)
    batch = trainer.data_collator(trainer.train_dataset[:4])
    model = trainer.model.train()

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    loss, outputs = trainer.compute_loss(model, batch, return_outputs=True)
    full = model(**batch)
    assert outputs.logits.shape[1] == len(predicting_columns(batch["labels"]))
    assert outputs.logits.shape[1] < full.logits.shape[1]
    assert loss.item() == pytest.approx(full.loss.item(), abs=1e-6)
    torch.testing.assert_close(gradient(loss), gradient(full.loss), atol=1e-5, rtol=1e-4)


def test_predicting_columns_are_one_before_the_labels_of_any_row():
    labels = torch.full((2, 8), IGNORED)
    labels[0, 3:5] = 7
    labels[1, 6] = 7
    assert predicting_columns(labels).tolist() == [2, 3, 5]


def test_eval_loss_is_nats_per_token_whatever_the_batches(make_trainer):
    trainer = make_trainer(*PAD)
    total, tokens = 0.0, 0
    for row in trainer.eval_dataset:
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            logits = trainer.model.eval()(ids).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        tokens += sum(label != IGNORED for label in row["labels"])
    by_hand = total / tokens
    for size in (1, 3, 10):
        sized = make_trainer(*PAD, f"training.per_device_eval_batch_size={size}")
        assert sized.evaluate()["eval_loss"] == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        PAD,
        ("lora.r=4", "training.learning_rate=1e-2"),
        ("lora.r=4", "training.learning_rate=1e-2", "training.gradient_checkpointing=true"),
        ("training.bf16=true",),
        ("model.dtype=bfloat16", "training.bf16=true"),
        ("training.gradient_checkpointing=true",),
        ("model.injection=output",),
        SFT,
    ],
    ids=lambda overrides: ",".join(o.partition(".")[2] for o in overrides) or "full",
)
def test_training_lowers_the_loss(make_trainer, overrides):
    trainer = make_trainer(*overrides)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert losses(trainer)[-1] < losses(trainer)[0] - 0.15
    assert trainer.evaluate()["eval_loss"] < before - 0.15


def test_accumulated_batches_count_as_one(make_trainer):
    one = make_trainer(*PAD)
    one.train()
    accumulated = make_trainer(
        *PAD,
        "training.per_device_train_batch_size=1",
        "training.gradient_accumulation_steps=2",
    )
    accumulated.train()
    assert losses(accumulated) == pytest.approx(losses(one), abs=1e-4)


# the order of the data


def batches_seen(trainer: Trainer) -> list[list[list[int]]]:
    seen = []
    trainer.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].tolist()), with_kwargs=True
    )
    trainer.train()
    return seen


def test_sft_and_flythinker_see_the_same_batches_in_the_same_order(make_trainer):
    flythinker = batches_seen(make_trainer())
    assert batches_seen(make_trainer(*SFT)) == flythinker
    assert batches_seen(make_trainer("prompt.reasoner_k=0")) == flythinker
    assert batches_seen(make_trainer("training.seed=1")) != flythinker


def test_the_order_depends_on_seed_and_epoch_only():
    lengths = [3 + (7 * i) % 31 for i in range(64)]

    def order(seed: int, epoch: int) -> list[int]:
        torch.rand(epoch + seed + 1)  # the global generator does not matter
        sampler = EpochSeededSampler(2, lengths, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert sorted(order(0, 0)) == list(range(64))
    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 1) != order(1, 1)


def test_rows_of_similar_length_share_a_batch():
    lengths = [3 + (7 * i) % 31 for i in range(64)]
    order = list(EpochSeededSampler(2, lengths, 0))
    grouped = sum(
        abs(lengths[a] - lengths[b]) for a, b in zip(order[::2], order[1::2], strict=True)
    )
    unordered = sum(abs(a - b) for a, b in zip(lengths[::2], lengths[1::2], strict=True))
    assert grouped < unordered / 2


# watching and stopping


def test_early_stopping_keeps_the_best_weights(make_trainer):
    trainer = make_trainer(
        "training.early_stopping_patience=2",
        "training.learning_rate=0.03",  # it soon gets worse
        "training.num_train_epochs=20",
        "training.eval_strategy=steps",
        "training.eval_steps=5",
        "training.save_strategy=steps",
        "training.save_steps=5",
    )
    trainer.train()
    curve = [e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e]
    assert trainer.state.global_step < 200
    assert curve.index(min(curve)) == len(curve) - 3
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(curve), abs=1e-6)


def test_tensorboard_files_hold_the_curve(make_trainer, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = make_trainer("training.num_train_epochs=1")
    trainer.train()
    (events,) = Path(trainer.args.output_dir).glob("runs/*/events.out.tfevents.*")
    curve = EventAccumulator(str(events)).Reload().Scalars("train/loss")
    assert [point.value for point in curve] == pytest.approx(losses(trainer))
    assert len(curve) == 10
    assert all(math.isfinite(point.value) for point in curve)


# a Reasoner that reads more


@pytest.mark.parametrize("k", [0, 1])
def test_a_reasoner_with_a_prompt_of_its_own_is_trained(make_trainer, k):
    reads = (f"prompt.k={k}", "prompt.reasoner_k=2", "prompt.reasoner_profile_tokens=80")
    trainer = make_trainer(*reads, "training.num_train_epochs=6", "training.eval_strategy=epoch")
    rows = trainer.train_dataset
    assert any(len(row["reasoner_ids"]) > len(row["input_ids"]) for row in rows)
    before = weights(trainer.model)
    trainer.train()
    curve = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert curve[-1] < curve[0] - 0.1
    after = weights(trainer.model)
    assert any(not torch.equal(before[name], after[name]) for name in before if "reasoner" in name)
