import numpy as np
import pytest
import torch

from flythinker.data.batch import encode
from flythinker.data.histories import without_histories
from flythinker.methods.nextquill import NextQuill, QuillCollator, preference_weights
from flythinker.methods.nonpers import NonPers
from flythinker.methods.rag import RAG
from flythinker.methods.sft import SFT
from flythinker.scoring.losses import load_losses


def trained_losses(method, examples):
    method.train()
    return np.concatenate(method.losses(method.prompts(examples), 2))


def test_uniform_weights_are_sft(make_method, held_out):
    quill = make_method(NextQuill, folder="quill", strength=0.0, align=0.0)
    sft = make_method(SFT, folder="sft")
    ours, theirs = trained_losses(quill, held_out), trained_losses(sft, held_out)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("option", [{"strength": 2.0, "align": 0.0}, {"strength": 0.0, "align": 5}])
def test_weights_and_alignment_change_what_is_learned(make_method, held_out, option):
    steps = "training.max_steps=12"
    quill = make_method(NextQuill, steps, folder="quill", **option)
    plain = make_method(NextQuill, steps, folder="plain", strength=0.0, align=0.0)
    ours, theirs = trained_losses(quill, held_out), trained_losses(plain, held_out)
    assert np.abs(ours - theirs).max() > 1e-3


def test_weights_have_mean_1_and_follow_the_effects():
    effects = torch.tensor([-1.0, 0.0, 1.0, 3.0])
    weights = preference_weights(effects, 1.0)
    assert weights.mean() == pytest.approx(1)
    assert weights[0] == weights[1] < weights[2] < weights[3]
    assert preference_weights(effects, 0.0).tolist() == [1.0] * 4
    assert preference_weights(-effects.abs(), 1.0).tolist() == [1.0] * 4  # nothing helps


def test_effects_are_what_history_does_to_the_prediction(make_method, held_out):
    quill, rag, nonpers = (make_method(kind) for kind in (NextQuill, RAG, NonPers))
    tokenizer = rag.personal.tokenizer
    prompt = quill.config.prompt
    rows = quill.recipe().encode(held_out, tokenizer, prompt)
    with_history, without = (
        method.losses(method.prompts(held_out), 2) for method in (rag, nonpers)
    )
    for row, h, x in zip(rows, with_history, without, strict=True):
        n = min(len(row["effects"]), len(h) - 1)  # the budgets of training and test differ
        np.testing.assert_allclose(row["effects"][:n], (x - h)[:n], atol=5e-3)
    assert np.allclose(rows[-1]["effects"], 0, atol=1e-3)  # no history, no effect
    (kept,) = quill.shared.glob("effects-*.npz")
    assert len(load_losses(kept)) == len(held_out)


def test_batches_hold_both_readings(make_method, held_out):
    quill = make_method(NextQuill)
    tokenizer = make_method(RAG).personal.tokenizer
    rows = quill.recipe().encode(held_out, tokenizer, quill.config.prompt)
    batch = QuillCollator(tokenizer.pad_token_id)(rows)
    plain = encode(without_histories(held_out), tokenizer, quill.config.prompt)
    for i, (row, without) in enumerate(zip(rows, plain, strict=True)):
        assert batch["input_ids"][i, : len(row["input_ids"])].tolist() == row["input_ids"]
        ids = without["input_ids"]
        assert batch["plain_input_ids"][i, : len(ids)].tolist() == ids
        assert (batch["labels"][i] != -100).sum() == len(row["effects"])
