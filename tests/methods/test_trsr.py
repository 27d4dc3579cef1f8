from dataclasses import replace

import numpy as np

from flythinker.data.example import Document
from flythinker.methods.base_texts import write_base_texts
from flythinker.methods.sft import SFT
from flythinker.methods.trsr import TRSR

SMALL = {"blocks": 2, "block_tokens": 60, "summary_tokens": 10}


def read_by_the_summarizer(method, examples, tokenizer, monkeypatch) -> list[str]:
    """Everything that the base model is shown."""
    shown: list[str] = []

    def spy(generator, messages, *args):
        shown.extend(map(tokenizer.decode, messages))
        return write_base_texts(generator, messages, *args)

    monkeypatch.setattr("flythinker.methods.trsr.write_base_texts", spy)
    method.summaries(examples, tokenizer)
    return shown


def test_the_summary_never_sees_target_or_query(make_method, held_out, tokenizer, monkeypatch):
    method = make_method(TRSR, **SMALL)
    shown = read_by_the_summarizer(method, held_out, tokenizer, monkeypatch)
    assert len(shown) >= len(held_out) - 1  # one example has no history
    changed = [replace(one, target="Other.", query="Another?") for one in held_out]
    assert read_by_the_summarizer(method, changed, tokenizer, monkeypatch) == shown
    secret = [replace(held_out[0], target="Nobody may read this.", query="Nor this.")]
    assert "Nobody" not in read_by_the_summarizer(method, secret, tokenizer, monkeypatch)[0]


def test_the_running_summary_goes_into_the_next_block(
    make_method, held_out, tokenizer, monkeypatch
):
    method = make_method(TRSR, **SMALL)
    documents = tuple(Document(f"Sentence {n} is here. " * 4) for n in range(6))
    example = replace(held_out[0], history=documents)
    first, second = read_by_the_summarizer(method, [example], tokenizer, monkeypatch)
    assert "Sentence 4" in first  # the newest texts, oldest first
    assert "Sentence 5" in second
    summary = write_base_texts(
        method.config.model.generator,
        [tokenizer(first, add_special_tokens=False)["input_ids"]],
        SMALL["summary_tokens"],
        method.shared / "again.jsonl",
        "",
    )[0]
    assert summary
    assert summary in second


def test_summaries_are_written_once(make_method, held_out, tokenizer, monkeypatch):
    first = make_method(TRSR, **SMALL).summaries(held_out, tokenizer)
    monkeypatch.setattr(
        "flythinker.methods.base_texts.load_model_folder", None
    )  # would fail if called
    assert make_method(TRSR, folder="other", **SMALL).summaries(held_out, tokenizer) == first


def test_a_torn_line_is_written_again(make_method, held_out, tokenizer):
    method = make_method(TRSR, **SMALL)
    first = method.summaries(held_out, tokenizer)
    file = method.shared / "summaries.jsonl"
    file.write_text(file.read_text()[:-20])
    assert method.summaries(held_out, tokenizer) == first


def test_it_trains_on_and_writes_with_the_summary(make_method, held_out, greedy):
    method = make_method(TRSR, **SMALL)
    method.train()
    tokenizer = method.personal.tokenizer
    summaries = method.summaries(held_out, tokenizer)
    assert summaries[-1] == ""  # no history
    for prompt, summary in zip(method.prompts(held_out), summaries, strict=True):
        assert summary in tokenizer.decode(prompt.prompt_ids)
    assert len(method.respond(method.prompts(held_out), greedy)) == len(held_out)


def test_without_blocks_it_is_sft(make_method, held_out):
    trsr, sft = make_method(TRSR, folder="trsr", blocks=0), make_method(SFT, folder="sft")
    for method in (trsr, sft):
        method.train()
    for ours, theirs in zip(
        trsr.losses(trsr.prompts(held_out), 2), sft.losses(sft.prompts(held_out), 2), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
