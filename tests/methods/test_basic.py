import numpy as np
import pytest

from flythinker.data.prompt import build_prompt
from flythinker.methods.flythinker import FlyThinker
from flythinker.methods.nonpers import NonPers
from flythinker.methods.rag import RAG
from flythinker.methods.sft import SFT
from reference import respond


def losses(method, examples):
    return method.losses(method.prompts(examples), 2)


def test_non_pers_never_sees_the_history(make_method, held_out):
    method = make_method(NonPers)
    for prompt, example in zip(method.prompts(held_out), held_out, strict=True):
        text = method.personal.tokenizer.decode(prompt.prompt_ids)
        assert example.query.strip() in text
        assert not any(document.text[:30] in text for document in example.history)


def test_rag_reads_what_sft_is_trained_on(make_method, held_out):
    rag, sft = make_method(RAG), make_method(SFT)
    sft.train()
    assert rag.prompts(held_out) == sft.prompts(held_out)
    seen = rag.personal.tokenizer.decode(rag.prompts(held_out)[0].prompt_ids)
    assert held_out[0].history[-1].text[:30] in seen


def test_rag_without_history_is_non_pers(make_method, held_out):
    rag, nonpers = make_method(RAG), make_method(NonPers)
    last = slice(len(held_out) - 1, None)
    np.testing.assert_array_equal(
        losses(rag, held_out[last])[0], losses(nonpers, held_out[last])[0]
    )


def test_flythinker_without_thoughts_is_sft(make_method, held_out):
    sft = make_method(SFT, folder="sft")
    fly = make_method(FlyThinker, "model.fusion_weight=0", folder="fly")
    for method in (sft, fly):
        method.train()
    for ours, theirs in zip(losses(fly, held_out), losses(sft, held_out), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", [SFT, FlyThinker])
def test_training_lowers_the_loss_and_the_model_writes(make_method, held_out, greedy, kind):
    before = np.concatenate(losses(make_method(RAG), held_out)).mean()
    method = make_method(kind, "training.max_steps=30")
    method.train()
    assert np.concatenate(losses(method, held_out)).mean() < before - 0.1
    texts = method.respond(method.prompts(held_out), greedy)
    assert len(texts) == len(held_out)


def test_a_finished_training_is_not_repeated(make_method):
    method = make_method(SFT)
    method.train()
    weights = method.folder / "train" / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    make_method(SFT).train()
    assert weights.stat().st_mtime_ns == before


def test_every_method_is_measured_on_the_same_tokens(make_method, held_out):
    counts = [list(map(len, losses(make_method(kind), held_out))) for kind in (NonPers, RAG)]
    assert counts[0] == counts[1]
    assert max(counts[0]) > 40


def test_a_batch_writes_what_single_prompts_write(make_method, held_out, greedy):
    method = make_method(RAG)
    prompts = method.prompts(held_out)
    together = method.respond(prompts, greedy)
    assert together == [method.respond([prompt], greedy)[0] for prompt in prompts]
    personal = method.personal
    prompt = build_prompt(held_out[0], personal.tokenizer, method.config.prompt)
    assert respond(personal, [prompt], greedy) == together[:1]
