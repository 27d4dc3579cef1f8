"""The Writer writes what `generate` writes, whatever the company."""

from dataclasses import replace

import pytest
import torch
from writers import GREEDY, alone, finish, make_writer

from flythinker.data.prompt import Prompt, build_prompt
from flythinker.generation.drafts import DraftChoice
from flythinker.generation.sampling import Sampling
from flythinker.generation.sequence import Sequence
from flythinker.model_folder import load_model_folder


def test_greedy_texts_are_those_of_generate(personal, prompts):
    expected = [alone(personal, prompt, GREEDY) for prompt in prompts]
    assert len(set(expected)) > 3
    assert make_writer(personal, slots=3).write(prompts, GREEDY) == expected


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(24, seed=3),
        Sampling(24, temperature=1.0, top_p=1.0, seed=4),
        Sampling(24, temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.3, seed=5),
        Sampling(24, temperature=0, repetition_penalty=1.5),
        Sampling(24, temperature=1.5, min_new_tokens=24, seed=6),
    ],
    ids=str,
)
def test_sampled_texts_are_those_of_generate_with_the_same_seed(personal, prompts, sampling):
    expected = [alone(personal, p, sampling.for_text(i)) for i, p in enumerate(prompts)]
    assert make_writer(personal, slots=4).write(prompts, sampling) == expected


def test_texts_join_and_leave_in_the_middle(personal, prompts):
    lengths = [3, 17, 9, 1, 12, 5, 8]
    settings = [replace(GREEDY, max_new_tokens=n) for n in lengths]
    writer = make_writer(personal, slots=3)
    writings = []
    for prompt, sampling in zip(prompts, settings, strict=True):
        writings.append(writer.submit(prompt, sampling))
        writer.step()
        writer.step()
    finish(writer)
    for writing, prompt, sampling in zip(writings, prompts, settings, strict=True):
        assert writing.text.strip() == alone(personal, prompt, sampling)
        assert writing.finish_reason in ("stop", "length")
        assert len(writing.token_ids) <= sampling.max_new_tokens


def test_different_requests_share_a_batch(personal, prompts):
    settings = [GREEDY, Sampling(15, seed=1), Sampling(15, temperature=1.2, top_k=5, seed=2)]
    writer = make_writer(personal, slots=3)
    writings = [writer.submit(p, s) for p, s in zip(prompts, settings, strict=False)]
    finish(writer)
    texts = [writing.text.strip() for writing in writings]
    assert texts == [alone(personal, p, s) for p, s in zip(prompts, settings, strict=False)]


def test_a_stream_in_pieces_is_the_text(personal, prompts):
    pieces = list(make_writer(personal).stream(prompts[0], GREEDY))
    assert len(pieces) > 3
    assert "".join(pieces).strip() == alone(personal, prompts[0], GREEDY)


def test_a_stop_string_ends_the_text_before_it(personal, prompts):
    text = alone(personal, prompts[0], GREEDY)
    stop = text[4:7]
    writer = make_writer(personal)
    pieces = list(writer.stream(prompts[0], replace(GREEDY, stop=("never", stop))))
    assert "".join(pieces).strip() == text.partition(stop)[0].strip()
    assert writer.idle


def test_cancelling_frees_the_slot_and_disturbs_nobody(personal, prompts):
    writer = make_writer(personal, slots=2)
    first, second, third = (writer.submit(prompt, GREEDY) for prompt in prompts[:3])
    waiting = writer.submit(prompts[3], GREEDY)
    for _ in range(4):
        writer.step()
    first.cancel()
    waiting.cancel()
    finish(writer)
    assert first.finish_reason == waiting.finish_reason == "cancelled"
    assert 0 < len(first.token_ids) < 6
    assert waiting.token_ids == []
    for writing, prompt in ((second, prompts[1]), (third, prompts[2])):
        assert writing.text.strip() == alone(personal, prompt, GREEDY)


def test_an_abandoned_stream_leaves_nothing_behind(personal, prompts):
    writer = make_writer(personal)
    pieces = writer.stream(prompts[0], GREEDY)
    next(pieces)
    pieces.close()
    writer.step()
    assert writer.idle
    assert writer.scheduler.slots == []


def test_a_reasoner_with_a_prompt_of_its_own(personal, examples):
    config = replace(personal.prompt, k=0, reasoner_k=2, reasoner_profile_tokens=80)
    prompts = [build_prompt(e, personal.tokenizer, config) for e in examples[:4]]
    expected = [alone(personal, prompt, GREEDY) for prompt in prompts]
    assert make_writer(personal, slots=2).write(prompts, GREEDY) == expected


def test_text_of_several_bytes_a_character_streams_whole(personal):
    """Byte-level tokens that are no characters alone are held back until they are."""
    tokenizer = personal.tokenizer
    ids = tokenizer("naïve – “café” 日本", add_special_tokens=False)["input_ids"]
    text = Sequence(Prompt([5, 6], [], ()), replace(GREEDY, max_new_tokens=len(ids)), 0.5)
    text.start(tokenizer, tokenizer.eos_token_id, personal.model.device)
    for token in ids:
        logits = torch.zeros(personal.model.config.vocab_size)
        logits[token] = 1
        text.accept([token], logits[None])
    assert text.text == "naïve – “café” 日本"


def make_twins(model):
    """The Reasoner gets the Generator's first layer and head, and hardly changes its writing."""
    generator = model.generator
    model.reasoner.load_state_dict(generator.base_model.state_dict(), strict=False)
    generator.lm_head.weight.data = generator.get_input_embeddings().weight.data.clone()
    model.config.fusion_weight = 0.1


class Always(DraftChoice):
    """Drafts from one source wherever it has some."""

    def __init__(self, source):
        super().__init__()
        self.source = source

    def choose(self, slots, plans):
        return next((plan for plan in reversed(plans) if plan.source == self.source), plans[0])


@pytest.mark.parametrize("source", ["lookup", "reasoner"])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.1, seed=2)], ids=str)
@pytest.mark.parametrize("slots", [1, 3])
def test_drafts_change_nothing_but_the_number_of_steps(personal, prompts, sampling, slots, source):
    sampling = replace(sampling, max_new_tokens=60, stop=("1982 w",))
    if source == "reasoner":
        make_twins(personal.model)
    plain = make_writer(personal, slots=slots, draft_tokens=0)
    drafting = make_writer(personal, slots=slots, draft_tokens=9)
    drafting.draft_choice = Always(source)
    assert drafting.write(prompts, sampling) == plain.write(prompts, sampling)
    assert plain.drafted == 0
    assert 0 < drafting.accepted < drafting.drafted  # some proved right, some wrong


def test_chosen_drafts_change_nothing(personal, prompts):
    sampling = replace(GREEDY, max_new_tokens=150, min_new_tokens=150)
    plain = make_writer(personal, slots=3, draft_tokens=0)
    drafting = make_writer(personal, slots=3)
    assert drafting.write(prompts, sampling) == plain.write(prompts, sampling)
    assert 0 < drafting.accepted < drafting.drafted


def test_the_real_model_writes_the_same(examples):
    personal = load_model_folder("smollm2-135m")
    config = replace(personal.prompt, k=1, profile_tokens=60)
    prompts = [build_prompt(e, personal.tokenizer, config) for e in examples[:3]]
    sampling = replace(GREEDY, max_new_tokens=12)
    expected = [alone(personal, prompt, sampling) for prompt in prompts]
    assert make_writer(personal, slots=2).write(prompts, sampling) == expected
