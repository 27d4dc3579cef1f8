"""A Reasoner with a prompt of its own: thoughts enter on the response, rows align there."""

import pytest
import torch

from flythinker.model.cache import FlyThinkerCache
from tiny import (
    FAMILIES,
    TOLERANCE,
    Variant,
    padded,
    random_ids,
    tiny_flythinker,
)

PROMPT, OWN, RESPONSE = random_ids(7, seed=1), random_ids(19, seed=2), random_ids(9, seed=3)
SHORT_OWN = random_ids(3, seed=4)  # shorter than the Generator's prompt


def inputs(prompt=PROMPT, own=OWN, response=RESPONSE):
    """What `forward` gets for one unpadded row."""
    return {
        "input_ids": torch.cat([prompt, response])[None],
        "reasoner_input_ids": torch.cat([own, response])[None],
        "prompt_length": torch.tensor([len(prompt)]),
    }


def batch(rows, side):
    """Rows (prompt, own, response) as a padded batch."""
    own = padded([torch.cat([own, response]) for _, own, response in rows], side)
    return {
        **padded([torch.cat([prompt, response]) for prompt, _, response in rows], side),
        **{f"reasoner_{name}": ids for name, ids in own.items()},
        "prompt_length": torch.tensor([len(prompt) for prompt, _, _ in rows]),
    }


ROWS = [(PROMPT, OWN, RESPONSE), (OWN[:4], SHORT_OWN, RESPONSE[:5]), (PROMPT[:2], OWN, RESPONSE)]


@pytest.mark.parametrize("family", FAMILIES)
def test_its_own_prompt_being_the_generators_is_output_injection(family):
    model = tiny_flythinker(Variant(family, "output"))
    same = inputs(own=PROMPT)
    plain = {key: value for key, value in same.items() if key != "reasoner_input_ids"}
    torch.testing.assert_close(model(**same).logits, model(**plain).logits, **TOLERANCE)


def test_thoughts_are_those_of_the_reasoner_over_its_own_prompt():
    model = tiny_flythinker()
    own = torch.cat([OWN, RESPONSE])[None]
    expected = model.reasoner(own).last_hidden_state[:, len(OWN) - 1 :]
    hidden = model(**inputs()).reasoner_hidden_state[:, len(PROMPT) - 1 :]
    torch.testing.assert_close(hidden, expected, **TOLERANCE)


@pytest.mark.parametrize("own", [OWN, SHORT_OWN], ids=["longer", "shorter"])
def test_it_matters_in_the_response_only(own):
    model = tiny_flythinker()
    logits = model(**inputs(own=own)).logits[0]
    other = model(**inputs(own=own.flip(0))).logits[0]
    n = len(PROMPT)
    torch.testing.assert_close(logits[:n], other[:n], atol=0, rtol=0)
    assert (logits[n:] - other[n:]).abs().amax(-1).min() > 1e-3
    alone = model.generator(inputs()["input_ids"]).logits[0]
    torch.testing.assert_close(logits[:n], alone[:n], **TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_are_single_rows(family, side):
    model = tiny_flythinker(Variant(family))
    logits = model(**batch(ROWS, side)).logits
    for row, (prompt, own, response) in enumerate(ROWS):
        expected = model(**inputs(prompt, own, response)).logits[0]
        n = len(expected)
        ours = logits[row, -n:] if side == "left" else logits[row, :n]
        torch.testing.assert_close(ours, expected, **TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("first", [7, 8, 12])
@pytest.mark.parametrize("chunk", [1, 3])
def test_incremental_is_full(family, first, chunk):
    model = tiny_flythinker(Variant(family))
    given = inputs()
    full = model(**given).logits
    ids, own, length = given["input_ids"], given["reasoner_input_ids"], given["prompt_length"]
    cache = FlyThinkerCache(model.config)
    # the first chunk holds the prompt and, for larger `first`, a part of the response
    begun = {"reasoner_input_ids": own[:, : len(OWN) - len(PROMPT) + first]}
    pieces = [
        model(ids[:, :first], cache=cache, prompt_length=length, **begun).logits,
        *(
            model(piece, cache=cache, prompt_length=length).logits
            for piece in ids[:, first:].split(chunk, dim=1)
        ),
    ]
    torch.testing.assert_close(torch.cat(pieces, dim=1), full, **TOLERANCE)


def test_a_response_token_changes_nothing_before_it():
    model = tiny_flythinker()
    changed = RESPONSE.clone()
    changed[4] = 5 if changed[4] != 5 else 6
    before, after = model(**inputs()), model(**inputs(response=changed))
    p = len(PROMPT) + 4
    torch.testing.assert_close(before.logits[:, :p], after.logits[:, :p], **TOLERANCE)
    torch.testing.assert_close(before.thoughts[:, 6:p], after.thoughts[:, 6:p], **TOLERANCE)


def generated(model, rows, **settings):
    """Response ids of a left-padded batch of prompts."""
    prompts = [(prompt, own, torch.tensor([], dtype=torch.long)) for prompt, own, _ in rows]
    given = batch(prompts, "left")
    del given["prompt_length"]  # generate knows where a prompt ends
    ids = model.generate(**given, max_new_tokens=8, do_sample=False, **settings)
    return ids[:, given["input_ids"].shape[1] :]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_generation_is_recomputation(family):
    model = tiny_flythinker(Variant(family))
    texts = generated(model, ROWS)
    for (prompt, own, _), text in zip(ROWS, texts, strict=True):
        response = torch.tensor([], dtype=torch.long)
        for token in text.tolist():
            logits = model(**inputs(prompt, own, response)).logits
            assert logits[0, -1].argmax().item() == token
            response = torch.cat([response, torch.tensor([token])])
            if token == model.generation_config.eos_token_id:
                break


@pytest.mark.parametrize(
    "settings", [{"num_beams": 3}, {"num_beams": 2, "length_penalty": 2.0}], ids=str
)
def test_beams_carry_it_along(settings):
    model = tiny_flythinker()
    together = generated(model, ROWS, **settings)
    for row, text in zip(ROWS, together, strict=True):
        alone = generated(model, [row], **settings)[0].tolist()
        assert text.tolist()[: len(alone)] == alone


def test_generation_goes_on_after_a_begun_response():
    model = tiny_flythinker()
    whole = generated(model, ROWS)[0]
    begun = inputs(response=whole[:3]) | {"reasoner_input_ids": OWN[None]}
    ids = model.generate(**begun, max_new_tokens=5, do_sample=False)
    assert ids[0, len(PROMPT) :].tolist() == whole.tolist()
    without_cache = generated(model, ROWS, use_cache=False)
    assert torch.equal(without_cache, generated(model, ROWS))


@pytest.mark.parametrize("seed", range(5))
def test_prompt_lookup_writes_the_same(seed):
    model = tiny_flythinker(seed=seed)
    row = (random_ids(5, seed=seed).repeat(3), OWN, RESPONSE)
    plain = generated(model, [row])
    assert generated(model, [row], prompt_lookup_num_tokens=3).tolist() == plain.tolist()


def test_gradients_reach_the_reasoner_through_its_own_prompt():
    model = tiny_flythinker()
    given = inputs()
    labels = given["input_ids"].clone()
    labels[:, : len(PROMPT)] = -100
    model(**given, labels=labels).loss.backward()
    table = model.reasoner.get_input_embeddings().weight.grad
    assert (table[OWN].abs().sum(-1) > 0).all()


def test_what_cannot_be_is_refused():
    model = tiny_flythinker(Variant(injection="input"))
    with pytest.raises(ValueError, match='need injection "output" or "global"'):
        model(**inputs())
    model = tiny_flythinker()
    with pytest.raises(ValueError, match="packed"):
        model(**(inputs() | {"prompt_length": torch.zeros(1, 16, dtype=torch.long)}))
    with pytest.raises(ValueError, match="needs prompt_length"):
        model(**{key: value for key, value in inputs().items() if key != "prompt_length"})
    cache = FlyThinkerCache(model.config)
    model(**inputs(), cache=cache)
    with pytest.raises(ValueError, match="once, with the prompt"):
        model(**inputs(), cache=cache)
    given = batch(ROWS[:2], "left") | {"max_new_tokens": 2}  # responses of 9 and 5 tokens
    with pytest.raises(ValueError, match="different lengths"):
        model.generate(**given)
