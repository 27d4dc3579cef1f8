import json

import numpy as np
import pytest

from flythinker.data.batch import encode
from flythinker.methods.cot import CoT, with_rationale
from flythinker.methods.rag import RAG
from flythinker.methods.restpg import RestPG, best_pairs

SHORT = {"rationale_tokens": 10}
ROUND = {"rounds": 1, "samples": 2, "examples": 6, "round_steps": 2}


def losses(method, examples):
    return np.concatenate(method.losses(method.prompts(examples), 2))


def test_rows_hold_the_rationale_and_then_what_sft_learns(make_method, held_out, tokenizer):
    cot = make_method(CoT, **SHORT)
    prompt = cot.config.prompt
    rationales = cot.rationales(held_out, tokenizer, prompt)
    rows = cot.recipe().encode(held_out, tokenizer, prompt)
    plain = encode(held_out, tokenizer, prompt)
    for row, without, rationale in zip(rows, plain, rationales, strict=True):
        n = without["prompt_length"]
        assert row["prompt_length"] == n
        assert row["input_ids"][:n] == without["input_ids"][:n]
        response = without["input_ids"][n:]
        assert row["input_ids"][-len(response) :] == response
        between = row["input_ids"][n : -len(response)]
        assert between[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(between[:-1]).strip() == rationale.strip()
        assert row["labels"] == [-100] * n + row["input_ids"][n:]


def test_rationales_see_the_target_when_training_only(make_method, held_out, tokenizer):
    cot = make_method(CoT, **SHORT)
    cot.train()
    for prompt, example in zip(cot.prompts(held_out), held_out, strict=True):
        assert example.target[:40] not in tokenizer.decode(prompt.prompt_ids)
    lines = (cot.shared / "rationales.jsonl").read_text().splitlines()
    assert len(lines) == 20 + 10  # of training and validation, once each
    assert all(json.loads(line).keys() == {"key", "text"} for line in lines)


def test_it_thinks_first_and_then_writes(make_method, held_out, greedy):
    cot = make_method(CoT, "training.max_steps=10", **SHORT)
    cot.train()
    prompts = cot.prompts(held_out)
    by_number = dict(cot.think(cot.writer, dict(enumerate(prompts)), greedy))
    thought = [by_number[number] for number in range(len(prompts))]
    by_hand = cot.writer.write([prompt for prompt, _ in thought], greedy)
    assert cot.respond(prompts, greedy) == by_hand
    tokenizer = cot.personal.tokenizer
    for (extended, rationale), prompt in zip(thought, prompts, strict=True):
        assert extended == with_rationale(prompt, rationale, tokenizer)
        assert extended.response_ids == prompt.response_ids
    # the loss is that of the response alone, on the same tokens as everyone's
    counts = list(map(len, cot.losses(prompts, 2)))
    rag = make_method(RAG)
    assert counts == list(map(len, rag.losses(rag.prompts(held_out), 2)))


def test_restpg_without_rounds_is_cot(make_method, held_out, greedy):
    cot = make_method(CoT, folder="cot", **SHORT)
    rest = make_method(RestPG, folder="rest", rounds=0, **SHORT)
    for method in (cot, rest):
        method.train()
    np.testing.assert_array_equal(losses(rest, held_out), losses(cot, held_out))
    assert rest.respond(rest.prompts(held_out), greedy) == cot.respond(
        cot.prompts(held_out), greedy
    )


def test_a_round_learns_from_its_best_samples(make_method, held_out):
    cot = make_method(RestPG, folder="cot", rounds=0, **SHORT)
    rest = make_method(RestPG, folder="rest", **SHORT, **ROUND)
    for method in (cot, rest):
        method.train()
    files = sorted((rest.folder / "round-1").glob("samples-*.jsonl"))
    lines = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    assert [len(file) for file in lines] == [6, 6]
    pairs = [[json.loads(line["output"]) for line in file] for file in lines]
    assert pairs[0] != pairs[1]
    assert np.abs(losses(rest, held_out) - losses(cot, held_out)).max() > 1e-3
    # a finished method is not trained again
    weights = rest.folder / "round-1" / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    make_method(RestPG, folder="rest", **SHORT, **ROUND).train()
    assert weights.stat().st_mtime_ns == before


def test_a_killed_round_goes_on_with_what_was_sampled(make_method, monkeypatch):
    from flythinker.methods import restpg

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    rest = make_method(RestPG, folder="rest", **SHORT, **ROUND)
    with monkeypatch.context() as patch:
        patch.setattr(restpg, "best_pairs", killed)
        with pytest.raises(KeyboardInterrupt):
            rest.train()
    sampled = [f.read_bytes() for f in sorted((rest.folder / "round-1").glob("samples-*"))]
    again = make_method(RestPG, folder="rest", **SHORT, **ROUND)
    again.train()
    after = [f.read_bytes() for f in sorted((rest.folder / "round-1").glob("samples-*"))]
    assert len(sampled) == 2
    assert after == sampled
    assert (rest.folder / "round-1" / "model").exists()


def test_the_best_pair_is_the_one_nearest_to_the_users_own_text():
    references = ["The sea is calm today.", "I love the hills of home."]
    sampled = [
        [("a", "Nothing of it."), ("b", "I love the hills of home.")],
        [("c", "The sea is calm."), ("d", "")],
    ]
    assert best_pairs(sampled, references) == [("c", "The sea is calm."), sampled[0][1]]
