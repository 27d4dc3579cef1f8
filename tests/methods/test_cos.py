import numpy as np
import pytest
import torch

from flythinker.methods.cos import CoS
from flythinker.methods.nonpers import NonPers
from flythinker.methods.rag import RAG


def losses(method, examples):
    return np.concatenate(method.losses(method.prompts(examples), 2))


def test_alpha_0_is_rag(make_method, held_out, greedy):
    cos, rag = make_method(CoS, alpha=0.0), make_method(RAG)
    np.testing.assert_allclose(losses(cos, held_out), losses(rag, held_out), atol=1e-5)
    assert cos.respond(cos.prompts(held_out), greedy) == rag.respond(rag.prompts(held_out), greedy)


def test_alpha_minus_1_is_non_pers(make_method, held_out, greedy):
    cos, nonpers = make_method(CoS, alpha=-1.0), make_method(NonPers)
    np.testing.assert_allclose(losses(cos, held_out), losses(nonpers, held_out), atol=1e-4)
    written = cos.respond(cos.prompts(held_out), greedy)
    assert written == nonpers.respond(nonpers.prompts(held_out), greedy)


def test_greedy_text_is_the_argmax_of_the_steered_logits(make_method, held_out, greedy):
    cos = make_method(CoS, alpha=2.0)
    personal = cos.personal
    (prompt,) = cos.prompts(held_out[:1])
    ids: list[int] = []
    for _ in range(greedy.max_new_tokens):
        with_history, without = (
            personal.model(torch.tensor([read + ids])).logits[0, -1].log_softmax(-1)
            for read in (prompt.prompt_ids, prompt.plain_ids)
        )
        ids.append(int((3 * with_history - 2 * without).argmax()))
        if ids[-1] == personal.tokenizer.eos_token_id:
            break
    expected = personal.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert cos.respond([prompt], greedy) == [expected]


def test_batches_write_what_single_prompts_write(make_method, held_out, greedy):
    cos = make_method(CoS)
    prompts = cos.prompts(held_out)
    assert cos.respond(prompts, greedy) == [cos.respond([one], greedy)[0] for one in prompts]


def test_prompts_of_another_method_are_refused(make_method, held_out, greedy):
    with pytest.raises(TypeError, match=r"CoS\.prompts"):
        make_method(CoS).respond(make_method(RAG).prompts(held_out), greedy)
