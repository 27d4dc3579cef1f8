"""Penalties, biases and ends of a text, as transformers has them; batched, and with drafts."""

from dataclasses import replace

import pytest
from writers import GREEDY, alone, finish, make_writer

from flythinker.data.prompt import end_of_turn_id
from flythinker.generation.sampling import Sampling

LONG = Sampling(24, temperature=1.0, seed=7)
SETTINGS = [
    Sampling(24, temperature=0, presence_penalty=1.5),
    Sampling(24, temperature=0, frequency_penalty=-0.5, repetition_penalty=1.2),
    replace(LONG, presence_penalty=0.7, frequency_penalty=1.1),
    replace(LONG, logit_bias=((5, 4.0), (300, -100.0))),
    replace(LONG, min_p=0.2, top_k=50, top_p=0.9),
    replace(
        LONG, min_p=0.05, logit_bias=((9, 3.0),), repetition_penalty=1.3, frequency_penalty=0.4
    ),
    replace(LONG, ignore_eos=True, logit_bias=((2, 6.0),)),
    replace(LONG, stop_token_ids=tuple(range(40, 60)), min_new_tokens=9),
]


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_a_text_is_that_of_generate_and_of_no_setting_another(personal, prompts, sampling):
    sampling = replace(sampling, logprobs=None)
    expected = [alone(personal, p, sampling.for_text(i)) for i, p in enumerate(prompts)]
    plain = Sampling(24, temperature=sampling.temperature, seed=sampling.seed)
    writer = make_writer(personal, slots=4)
    assert writer.write(prompts, sampling) == expected
    assert writer.write(prompts, plain) != expected


def test_texts_with_other_settings_share_a_batch(personal, prompts):
    writer = make_writer(personal, slots=len(SETTINGS))
    writings = [writer.submit(prompts[0], sampling) for sampling in SETTINGS]
    finish(writer)
    texts = [writing.text.strip() for writing in writings]
    assert texts == [alone(personal, prompts[0], sampling) for sampling in SETTINGS]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0, "frequency_penalty": 0.3, "presence_penalty": 0.2},
        {"temperature": 0.1, "seed": 2, "logit_bias": ((5, 2.0),), "frequency_penalty": 0.1},
        {"temperature": 0.1, "seed": 2, "ignore_eos": True, "repetition_penalty": 1.05},
        {"temperature": 0.1, "seed": 2, "min_p": 0.1, "min_new_tokens": 50},
    ],
    ids=str,
)
def test_drafts_change_nothing(personal, prompts, settings):
    sampling = Sampling(60, **settings)
    drafting = make_writer(personal, slots=2, draft_tokens=9)
    plain = make_writer(personal, slots=2, draft_tokens=0)
    assert drafting.write(prompts, sampling) == plain.write(prompts, sampling)
    assert drafting.drafted > 0


def test_a_text_that_ignores_its_end_goes_on_past_it(personal, prompts):
    eos = end_of_turn_id(personal.tokenizer)
    writer = make_writer(personal, slots=1)
    sampling = replace(GREEDY, ignore_eos=True, logit_bias=((eos, 100.0),))
    writing = writer.submit(prompts[0], sampling)
    finish(writer)
    assert writing.token_ids == [eos] * sampling.max_new_tokens
    assert (writing.text, writing.finish_reason) == ("", "length")


def test_a_stop_token_ends_a_text_and_is_left_out(personal, prompts):
    writer = make_writer(personal, slots=1)
    whole = writer.submit(prompts[0], GREEDY)
    finish(writer)
    stop = whole.token_ids[7]
    first = whole.token_ids.index(stop)
    stopped = writer.submit(prompts[0], replace(GREEDY, stop_token_ids=(stop,)))
    finish(writer)
    assert stopped.token_ids == whole.token_ids[:first]
    assert stopped.finish_reason == "stop"


def test_no_stop_string_ends_a_text_before_its_shortest_length(personal, prompts):
    writer = make_writer(personal, slots=1)
    whole = writer.submit(prompts[0], replace(GREEDY, min_new_tokens=20))
    finish(writer)
    stop = whole.text[4:7]
    late = writer.submit(prompts[0], replace(GREEDY, min_new_tokens=19, stop=(stop,)))
    finish(writer)
    assert len(late.token_ids) == 20
