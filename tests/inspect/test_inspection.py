from dataclasses import replace

import numpy as np
import pytest
import torch
from thinking import WAYS, encoded
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from flythinker import FlyThinkerForCausalLM
from flythinker.errors import FlyThinkerError
from flythinker.inspect import inspection as inspect
from flythinker.model.parts import load_generator


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_local_effect_is_that_of_a_full_pass_without_this_one_thought(make, examples, way):
    personal = make(**way)
    row = encoded(personal, examples[3])
    ids = torch.tensor([row["input_ids"]])
    start, seq = row["prompt_length"], len(row["input_ids"])
    columns = torch.arange(start - 1, seq - 1)
    # row i of the batch is the text without the thought at column i, the last one has them all
    weights = torch.full((len(columns) + 1, seq, 1), personal.model.config.fusion_weight)
    weights[range(len(columns)), columns] = 0
    inputs = {"prompt_length": torch.tensor([start])}
    if "reasoner_ids" in row:
        inputs["reasoner_input_ids"] = torch.tensor([row["reasoner_ids"]])
    inputs = {k: v.expand(len(weights), *v.shape[1:]) for k, v in inputs.items()}
    with torch.no_grad():
        logits = personal.model(
            ids.expand(len(weights), -1), fusion_weight=weights, **inputs
        ).logits
    with_thoughts = log_softmax(logits[-1, columns], dim=-1)
    without = log_softmax(logits[range(len(columns)), columns], dim=-1)
    kl = kl_div(without, with_thoughts, log_target=True, reduction="none").sum(-1)
    nats = [cross_entropy(x, ids[0, start:], reduction="none") for x in (with_thoughts, without)]

    measured = np.array(list(inspect.effects(personal.model, row, "local")))
    np.testing.assert_allclose(measured, torch.stack([kl, *nats], dim=-1), atol=1e-4)
    if way["injection"] != "input":
        assert (measured[1:, 0] > 1e-4).all()


NOTHING = pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("effect", ["local", "global"])
def test_a_model_that_starts_at_zero_has_no_effect_at_all(make, examples, effect):
    personal = make(zero=True)
    inspection = inspect.inspect_example(personal, examples[0], effect)
    for token in inspection.tokens:  # to the rounding of batches of other shapes
        assert token.kl == NOTHING
        assert token.nats == pytest.approx(token.nats_without, abs=1e-5)
    assert all(token.thought and token.words == () for token in inspection.tokens)
    assert inspection.mean_share is None


def test_effects_are_where_thoughts_enter(make, examples):
    everywhere = inspect.inspect_example(make(), examples[0], "local").tokens
    assert all(token.thought and token.kl > 0 and token.words for token in everywhere)

    first, *others = inspect.inspect_example(make("output"), examples[0], "local").tokens
    assert (first.thought, first.kl, first.words) == (False, NOTHING, ())
    assert all(token.thought and token.kl > 0 and token.words for token in others)

    first, *others = inspect.inspect_example(make("input"), examples[0], "local").tokens
    assert first.thought
    assert first.kl > 0
    assert all((t.thought, t.kl, t.words) == (False, NOTHING, ()) for t in others)
    every = inspect.inspect_example(make("input"), examples[0], "global").tokens
    assert all(token.kl > 0 for token in every)
    assert inspect.inspect_example(make("input"), examples[0]).effect == "global"


def test_a_global_effect_is_that_of_no_thoughts(make, examples):
    personal = make()
    row = encoded(personal, examples[0])
    ids = torch.tensor([row["input_ids"]])
    start = row["prompt_length"]
    measured = np.array(list(inspect.effects(personal.model, row, "global")))
    for column, weight in ((1, 0.5), (2, 0.0)):
        with torch.no_grad():
            logits = personal.model(ids, fusion_weight=weight).logits[0, start - 1 : -1]
        nats = cross_entropy(logits, ids[0, start:], reduction="none")
        np.testing.assert_allclose(measured[:, column], nats, atol=1e-4)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_enters_is_what_the_generator_reads(make, examples, way):
    personal = make(**way)
    row = encoded(personal, examples[3])
    added, gate = inspect.entering(personal.model, row)
    ids = torch.tensor([row["input_ids"]])
    inputs = {"prompt_length": torch.tensor([row["prompt_length"]])}
    if "reasoner_ids" in row:
        inputs["reasoner_input_ids"] = torch.tensor([row["reasoner_ids"]])
    with torch.no_grad():
        expected = personal.model(ids, **inputs).logits
        embeds = personal.model.get_input_embeddings()(ids) + added
        logits = personal.model.generator(inputs_embeds=embeds).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert torch.equal(added.norm(dim=-1) > 0, gate)


def test_pieces_keep_characters_of_several_tokens_whole(tokenizer):
    text = "  café — 日本\n\nend \ufffd"
    ids = tokenizer(text)["input_ids"]
    pieces = inspect.pieces(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text
    assert "" in pieces
    assert "日" in pieces
    assert inspect.pieces(tokenizer, ids[:-1])[-1] != ""  # text that ends within a character


def test_a_chosen_example(examples):
    other = replace(examples[0], user_id="other")
    known = [*examples[:2], other]
    assert inspect.choose(known, None, 1) is known[1]
    assert inspect.choose(known, "other", 0) is other
    with pytest.raises(FlyThinkerError, match=r"no example by user 'nobody'.*other, someone"):
        inspect.choose(known, "nobody", 0)
    with pytest.raises(FlyThinkerError, match=r"no example 2 by 'someone'.*from 0 to 1"):
        inspect.choose(known, "someone", 2)


def test_refusals(make, backbone, examples):
    personal = make()
    with pytest.raises(FlyThinkerError, match="is empty"):
        inspect.inspect_example(personal, replace(examples[0], target=" "), "local")
    sft = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        load_generator(str(backbone)), None, fusion_weight=0
    )
    with pytest.raises(FlyThinkerError, match="runs/sft has no Reasoner"):
        inspect.check_thinks(replace(personal, model=sft), "runs/sft")
    personal.model.config.fusion_weight = 0
    with pytest.raises(FlyThinkerError, match="fusion_weight 0"):
        inspect.check_thinks(personal, "runs/x")
