"""What one text may ask for beside its sampling: λ, log-probabilities, effects of its thoughts."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from writers import GREEDY, alone, finish, make_writer

from flythinker.data.batch import encode_prompt
from flythinker.data.prompt import build_prompt
from flythinker.errors import FlyThinkerError
from flythinker.generation.effects import NearWords
from flythinker.generation.sampling import Sampling
from flythinker.inspect.inspection import effects, entering

TOLERANCE = {"atol": 1e-4, "rtol": 0.0}


def without_reasoner(personal):
    """The same Generator, alone."""
    model = copy.deepcopy(personal.model)
    model.config.fusion_weight, model.reasoner, model.projection = 0.0, None, None
    return replace(personal, model=model)


def logits_of(personal, writing) -> torch.Tensor:
    """What each token of a text was drawn from, by one full pass: [tokens, vocab]."""
    ids = torch.tensor([writing.prompt.prompt_ids + writing.token_ids])
    inputs = {"prompt_length": torch.tensor([len(writing.prompt.prompt_ids)])}
    with torch.no_grad():
        return personal.model(ids, **inputs).logits[0, inputs["prompt_length"] - 1 : -1]


WEIGHTS = (None, 0.0, 0.1, 0.5, 2.0)


def test_texts_with_other_weights_share_a_batch(personal, prompts):
    settings = [replace(GREEDY, fusion_weight=weight) for weight in WEIGHTS]
    expected = [alone(personal, prompts[0], sampling) for sampling in settings]
    assert len(set(expected)) == 4  # the model's own λ is 0.5
    writer = make_writer(personal, slots=5)
    for _ in range(2):  # prompts that were read with another λ must not be taken for one's own
        writings = [writer.submit(prompts[0], sampling) for sampling in settings]
        finish(writer)
        assert [writing.text.strip() for writing in writings] == expected
    assert writer.runner.prefixes.hits > 0


def test_weight_zero_is_the_generator_alone(personal, prompts):
    sampling = replace(GREEDY, fusion_weight=0.0)
    expected = [alone(without_reasoner(personal), prompt, GREEDY) for prompt in prompts]
    assert make_writer(personal, slots=3).write(prompts, sampling) == expected


def test_a_prompt_read_with_one_weight_serves_no_other(personal, prompts):
    writer = make_writer(personal, slots=1)
    hits = []
    for weight in (0.3, 0.7, 0.3, 0.0):
        writer.write(prompts[:1], replace(GREEDY, fusion_weight=weight, max_new_tokens=1))
        hits.append(writer.runner.prefixes.hits)
    known = len(prompts[0].prompt_ids) - 1
    by_part = [after - before for before, after in zip([0, *hits[:-1]], hits, strict=True)]
    # the Reasoner's reading serves every λ
    assert by_part == [0, known, 2 * known, known]


def test_a_model_without_thoughts_refuses_what_needs_some(personal, prompts):
    writer = make_writer(without_reasoner(personal))
    for sampling in (replace(GREEDY, fusion_weight=0.5), replace(GREEDY, effects=True)):
        with pytest.raises(FlyThinkerError, match="no thoughts"):
            writer.submit(prompts[0], sampling)
    assert writer.idle


@pytest.mark.parametrize("draft_tokens", [0, 8])
def test_logprobs_are_those_of_a_full_pass(personal, prompts, draft_tokens):
    sampling = Sampling(30, temperature=0.7, top_p=0.8, repetition_penalty=1.2, seed=3)
    writer = make_writer(personal, slots=3, draft_tokens=draft_tokens)
    asked = [
        writer.submit(p, replace(sampling, logprobs=n))
        for p, n in zip(prompts, (0, 3), strict=False)
    ]
    plain = writer.submit(prompts[2], sampling)
    finish(writer)
    assert plain.logprobs == []
    for writing, prompt, n in zip(asked, prompts, (0, 3), strict=False):
        assert writing.text.strip() == alone(personal, prompt, sampling)
        assert [entry.token_id for entry in writing.logprobs] == writing.token_ids
        logs = logits_of(personal, writing).log_softmax(-1)
        own = torch.tensor([entry.logprob for entry in writing.logprobs])
        assert_close(
            own, logs.gather(1, torch.tensor(writing.token_ids)[:, None])[:, 0], **TOLERANCE
        )
        for entry, row in zip(writing.logprobs, logs, strict=True):
            assert len(entry.top) == n
            assert [token for token, _ in entry.top] == row.topk(n).indices.tolist()
            assert_close(torch.tensor([p for _, p in entry.top]), row.topk(n).values, **TOLERANCE)


@pytest.fixture
def make(configure, personal):
    """A tiny model with an injection, whose thoughts have a direction of their own."""

    def make(injection="global"):
        model = copy.deepcopy(personal.model)
        model.config.injection = injection
        return replace(personal, model=model)

    return make


@pytest.mark.parametrize(
    ("injection", "apart"), [("global", 0), ("output", 0), ("input", 0), ("global", 1)]
)
@pytest.mark.parametrize(
    "sampling",
    [GREEDY, Sampling(24, seed=2), Sampling(24, temperature=0, fusion_weight=1.5)],
    ids=str,
)
def test_effects_are_those_that_inspect_computes_anew(make, examples, injection, apart, sampling):
    personal = make(injection)
    config = replace(personal.prompt, k=1, reasoner_k=2) if apart else personal.prompt
    prompts = [build_prompt(e, personal.tokenizer, config) for e in examples[:3]]
    writer = make_writer(personal, slots=5)
    # one without effects between two with them
    wanted = [replace(sampling, effects=effects) for effects in (True, False, True)]
    writings = [writer.submit(*both) for both in zip(prompts, wanted, strict=True)]
    finish(writer)
    assert writings[1].effects == []
    if sampling.fusion_weight is not None:
        personal.model.config.fusion_weight = sampling.fusion_weight
    for number in (0, 2):
        writing = writings[number]
        assert writing.text.strip() == alone(personal, prompts[number], sampling)
        assert [effect.token_id for effect in writing.effects] == writing.token_ids
        assert "".join(effect.text for effect in writing.effects) == writing.text
        row = encode_prompt(replace(prompts[number], response_ids=writing.token_ids))
        expected = [kl for kl, _, _ in effects(personal.model, row, "global")]
        found = torch.tensor([effect.kl for effect in writing.effects])
        assert_close(found, torch.tensor(expected), **TOLERANCE)
        assert found.max() > 0.01
        assert [effect.words for effect in writing.effects] == words_anew(personal, row)


@torch.no_grad()
def words_anew(personal, row) -> list[tuple[str, ...]]:
    """The words near each response token's thought, less the mean thought of the prompt."""
    model, responses = personal.model, len(row["input_ids"]) - row["prompt_length"]
    added, gate = entering(model, row)
    read = row.get("reasoner_ids", row["input_ids"])[:-responses]
    thoughts = model.reasoner(input_ids=torch.tensor([read])).last_hidden_state[0]
    norm = model.get_input_embeddings().weight.norm(dim=-1).mean()
    mean = (thoughts / thoughts.norm(dim=-1, keepdim=True) * norm).mean(0)
    vectors = added / model.config.fusion_weight - gate[:, None] * mean
    head = model.get_output_embeddings().weight
    near_words = NearWords(personal.tokenizer, head.norm(dim=-1))
    return near_words(vectors[row["prompt_length"] - 1 : -1] @ head.T)


def test_texts_with_effects_wait_for_two_slots_and_leave_both(personal, prompts):
    writer = make_writer(personal, slots=3)
    seeing = replace(GREEDY, effects=True)
    writings = [
        writer.submit(p, s) for p, s in zip(prompts, [seeing, seeing, GREEDY], strict=False)
    ]
    writer.step()
    writer.step()
    assert writer.scheduler.running == writings[:1]  # a slot is free, and two are needed
    writings[0].cancel()
    finish(writer)
    assert writer.scheduler.slots == []
    for writing, prompt in zip(writings[1:], prompts[1:], strict=False):
        assert writing.text.strip() == alone(personal, prompt, GREEDY)
    with pytest.raises(FlyThinkerError, match="2 slots"):
        make_writer(personal, slots=1).submit(prompts[0], seeing)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_after_a_failed_step_those_that_wait_are_written(personal, prompts, monkeypatch, steps):
    writer = make_writer(personal, slots=2)
    writings = [writer.submit(prompt, GREEDY) for prompt in prompts[:4]]
    for _ in range(steps):
        writer.step()

    def fail(*args, **kwargs):
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(writer.runner.generator.layers[1], "forward", fail)
        with pytest.raises(MemoryError):
            writer.step()
    writer.abandon()
    lost = max(1, steps)  # in work, or about to be
    reasons = [writing.finish_reason for writing in writings]
    assert reasons == ["cancelled"] * lost + [None] * (4 - lost)
    finish(writer)
    for writing, prompt in zip(writings[lost:], prompts[lost:], strict=False):
        assert writing.text.strip() == alone(personal, prompt, GREEDY)
