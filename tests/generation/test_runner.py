"""Slots against the model's own passes: every family, injection, projection and Reasoner width."""

import copy

import pytest
import torch
from given_texts import GivenTexts
from torch.testing import assert_close
from transformers import MistralConfig, MistralForCausalLM

from flythinker import FlyThinkerForCausalLM
from flythinker.errors import FlyThinkerError
from flythinker.generation.runner import Runner
from tiny import PLAIN, TOLERANCE, VARIANTS, random_ids, tiny_flythinker

LENGTHS = (5, 11, 3)


@torch.inference_mode()
def expected(model, ids, prompt_length, **inputs):
    """Logits after each token, by one full pass."""
    return model(ids[None], prompt_length=torch.tensor([prompt_length]), **inputs).logits[0]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_texts_in_slots_are_texts_alone(variant):
    model = tiny_flythinker(variant)
    whole = copy.deepcopy(model)
    given = GivenTexts(model, 4)
    texts = [random_ids(length + 6, seed=length) for length in LENGTHS]
    full = [expected(whole, text, n) for text, n in zip(texts, LENGTHS, strict=True)]

    for text, n, logits in zip(texts, LENGTHS, full, strict=True):
        assert_close(given.join(text[:n].tolist()), logits[n - 1], **TOLERANCE)
    for step in range(2):  # token by token, all together
        ids = torch.stack(
            [text[n + step : n + step + 1] for text, n in zip(texts, LENGTHS, strict=True)]
        )
        read = given.read(ids)
        for row, n, logits in zip(read, LENGTHS, full, strict=True):
            assert_close(row[0], logits[n + step], **TOLERANCE)
    chunk = torch.stack([text[n + 2 : n + 5] for text, n in zip(texts, LENGTHS, strict=True)])
    for row, n, logits in zip(given.read(chunk), LENGTHS, full, strict=True):
        assert_close(row, logits[n + 2 : n + 5], **TOLERANCE)
    given.leave(0)  # the last one moves there
    left = [2, 1]
    ids = torch.stack([texts[i][LENGTHS[i] + 5 : LENGTHS[i] + 6] for i in left])
    for row, i in zip(given.read(ids), left, strict=True):
        assert_close(row[0], full[i][LENGTHS[i] + 5], **TOLERANCE)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_tokens_that_are_not_kept_are_as_if_never_read(variant):
    model = tiny_flythinker(variant)
    whole = copy.deepcopy(model)
    given = GivenTexts(model, 3)
    texts = [random_ids(length + 6, seed=length) for length in LENGTHS]
    for text, n in zip(texts, LENGTHS, strict=True):
        given.join(text[:n].tolist())
    wrong = torch.stack([text[n : n + 4] for text, n in zip(texts, LENGTHS, strict=True)])
    right = [1, 2, 3]
    for row, count in enumerate(right):
        wrong[row, count:] = 7
    given.read(wrong, right)
    rest = [text[n + k : n + k + 1] for text, n, k in zip(texts, LENGTHS, right, strict=True)]
    for row, text, n, k in zip(given.read(torch.stack(rest)), texts, LENGTHS, right, strict=True):
        assert_close(row[0], expected(whole, text, n)[n + k], **TOLERANCE)


def test_a_freed_slot_keeps_nothing_of_its_last_text():
    model = tiny_flythinker(PLAIN)
    whole = copy.deepcopy(model)
    given = GivenTexts(model, 1)
    given.join(random_ids(20, seed=1).tolist())
    given.leave(0)
    text = random_ids(6, seed=2)
    assert_close(given.join(text.tolist()), expected(whole, text, 6)[-1], **TOLERANCE)


@pytest.mark.parametrize("injection", ["global", "output"])
def test_a_reasoner_with_a_prompt_of_its_own(injection):
    model = tiny_flythinker(PLAIN._replace(injection=injection))
    whole = copy.deepcopy(model)
    given = GivenTexts(model, 2)
    given.join(random_ids(4, seed=9).tolist())  # one that has none beside it
    beside = torch.tensor([[5]])
    prompt, own, response = random_ids(5), random_ids(12, seed=1), random_ids(4, seed=2)
    text = torch.cat([prompt, response])
    logits = expected(whole, text, 5, reasoner_input_ids=torch.cat([own, response])[None])
    assert_close(given.join(prompt.tolist(), own.tolist()), logits[4], **TOLERANCE)
    for i in range(4):
        ids = torch.cat([beside, response[None, i : i + 1]])
        assert_close(given.read(ids)[1, 0], logits[5 + i], **TOLERANCE)


def test_the_injection_input_needs_a_shared_prompt():
    given = GivenTexts(tiny_flythinker(PLAIN._replace(injection="input")), 1)
    with pytest.raises(FlyThinkerError, match="prompt of its own"):
        given.join([5, 6], [7, 8, 9])


def test_a_generator_alone_has_no_reasoner_to_run():
    generator = tiny_flythinker(PLAIN).generator
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        generator, None, fusion_weight=0
    )
    text = random_ids(7)
    whole = expected(model, text, 7)[-1]
    given = GivenTexts(model, 1)
    assert_close(given.join(text.tolist()), whole, **TOLERANCE)
    assert given.runner.reasoner is None


def test_caches_grow_and_the_text_stays():
    model = tiny_flythinker(PLAIN)
    whole = copy.deepcopy(model)
    given = GivenTexts(model, 2)
    text = random_ids(600)
    given.join(text[:250].tolist())
    small = given.runner.generator.cache.n_bytes()
    read = given.read(text[None, 250:])
    assert given.runner.generator.cache.n_bytes() > small
    assert_close(read[0, -1], expected(whole, text, 250)[-1], atol=1e-3, rtol=0)


def test_texts_in_slots_see_what_a_sliding_window_lets_them_see():
    model = windowed()
    whole = copy.deepcopy(model)
    given = GivenTexts(model, 2)
    texts = [random_ids(length, seed=length) % 64 for length in (14, 9)]
    for text in texts:
        n = len(text) - 3
        assert_close(given.join(text[:n].tolist()), expected(whole, text, n)[n - 1], **TOLERANCE)
    read = given.read(torch.stack([text[-3:] for text in texts]))
    for logits, text in zip(read, texts, strict=True):
        assert_close(logits, expected(whole, text, len(text) - 3)[-3:], **TOLERANCE)


def windowed(seed: int = 0) -> FlyThinkerForCausalLM:
    """Tiny, without a Reasoner, with layers that see four tokens."""
    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, sliding_window=4, initializer_range=0.2,
    )  # fmt: skip
    return FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        MistralForCausalLM(config).eval(), None, fusion_weight=0
    )


def test_a_model_that_was_taken_over_says_so():
    model = tiny_flythinker(PLAIN)
    Runner.take_over(model, 1)
    with pytest.raises(FlyThinkerError, match="load it once more"):
        model.generate(random_ids(1, 6), max_new_tokens=2)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_what_the_reasoner_drafts_is_read_with_its_exact_thoughts(variant):
    model = tiny_flythinker(variant)
    whole = copy.deepcopy(model)
    given = GivenTexts(model, 2)
    texts = [random_ids(n, seed=n) for n in (5, 9)]
    for text in texts:
        given.join(text.tolist())
    for drafts, kept in ((3, [2, 4]), (1, [1, 2]), (0, [1, 1])):
        news = random_ids(2, seed=drafts)[:, None]
        ids, logits = given.draft(news, drafts, kept) if drafts else (news, given.read(news))
        for row in range(2):
            prompt_length = (5, 9)[row]
            text = torch.cat([texts[row], ids[row]])
            after = expected(whole, text, prompt_length)[-1 - drafts :]
            assert_close(logits[row], after, **TOLERANCE)
            read = whole(text[None], prompt_length=torch.tensor([prompt_length]))
            guesses = whole.draft_logits(read.reasoner_hidden_state)
            assert ids[row, 1:].tolist() == guesses[0].argmax(-1)[-1 - drafts : -1].tolist()
            texts[row] = text[: len(texts[row]) + kept[row]]
