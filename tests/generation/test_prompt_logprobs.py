"""Log-probabilities of a prompt are those of one full pass, however the prompt is read."""

from dataclasses import replace

import pytest
import torch
from writers import GREEDY, finish, make_writer

from flythinker.generation import one_by_one, runner
from flythinker.generation.one_by_one import OneByOne

SCORING = replace(GREEDY, prompt_logprobs=2, logprobs=2)


def by_one_pass(personal, ids: list[int]) -> torch.Tensor:
    """The log-probability of each token but the first."""
    lengths = torch.tensor([len(ids)])
    with torch.no_grad():
        logits = personal.model(torch.tensor([ids]), prompt_length=lengths).logits[0, :-1]
    return logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


@pytest.mark.parametrize("at_a_time", [7, 256])
@pytest.mark.parametrize("slots", [True, False], ids=["slots", "one by one"])
def test_they_are_those_of_one_pass(personal, prompts, monkeypatch, at_a_time, slots):
    expected = [by_one_pass(personal, prompt.prompt_ids) for prompt in prompts]
    for module in (runner, one_by_one):
        monkeypatch.setattr(module, "SCORED_TOKENS", at_a_time)
    writer = make_writer(personal, slots=2)
    plain = make_writer(personal, slots=2).write(prompts, GREEDY)
    if not slots:
        writer.runner, writer.draft_tokens = OneByOne(personal.model), 0
        writer.scheduler._move = writer.runner.move
    writer.write(prompts[:2], GREEDY)  # they are in the prefix cache now
    scored = [writer.submit(prompt, SCORING) for prompt in prompts]
    finish(writer)
    for sequence, values, text in zip(scored, expected, plain, strict=True):
        found = torch.tensor([token.logprob for token in sequence.prompt_logprobs])
        torch.testing.assert_close(found, values, atol=1e-4, rtol=0)
        assert all(len(token.top) == 2 for token in sequence.prompt_logprobs)
        assert sequence.text.strip() == text


def test_nothing_may_be_written(personal, prompts):
    writer = make_writer(personal, slots=1)
    sequence = writer.submit(prompts[0], replace(SCORING, max_new_tokens=0))
    finish(writer)
    assert (sequence.token_ids, sequence.text, sequence.finish_reason) == ([], "", "length")
    assert len(sequence.prompt_logprobs) == len(prompts[0].prompt_ids) - 1


def test_what_follows_the_prompt_has_an_entry_also_if_it_ends_the_text(personal, prompts):
    writer = make_writer(personal, slots=1)
    first = writer.submit(prompts[0], GREEDY)
    finish(writer)
    stop = first.token_ids[0]
    scored = writer.submit(prompts[0], replace(SCORING, stop_token_ids=(stop,)))
    finish(writer)
    assert (scored.token_ids, scored.text, scored.finish_reason) == ([stop], "", "stop")
    assert [token.token_id for token in scored.logprobs] == [stop]
