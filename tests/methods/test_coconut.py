import numpy as np
import pytest
import torch

from flythinker.methods.coconut import Coconut, CoconutTrainer, response_nats
from flythinker.methods.rag import RAG
from flythinker.methods.sft import SFT
from flythinker.training.run import build_trainer


def losses(method, examples, batch=2):
    return np.concatenate(method.losses(method.prompts(examples), batch))


def test_no_latent_step_is_sft(make_method, held_out, greedy):
    coconut = make_method(Coconut, folder="coconut", latent_steps=0)
    sft = make_method(SFT, folder="sft")
    for method in (coconut, sft):
        method.train()
    np.testing.assert_allclose(losses(coconut, held_out), losses(sft, held_out), atol=2e-4)
    prompts = coconut.prompts(held_out)
    assert coconut.respond(prompts, greedy) == sft.respond(prompts, greedy)


def untrained(make_method, steps):
    """Coconut on the base model, whose latents differ enough to be seen."""
    method = make_method(Coconut, latent_steps=steps)
    method.personal = make_method(RAG).personal
    return method


@torch.inference_mode()
def test_latent_steps_feed_the_last_hidden_state_back(make_method, held_out):
    coconut = untrained(make_method, 3)
    generator = coconut.personal.model.generator
    for prompt in coconut.prompts(held_out):
        embed = generator.get_input_embeddings()
        embeds = embed(torch.tensor([prompt.prompt_ids]))
        for _ in range(3):  # without a cache, all anew each time
            hidden = generator.base_model(inputs_embeds=embeds).last_hidden_state
            embeds = torch.cat([embeds, hidden[:, -1:]], dim=1)
        whole = torch.cat([embeds, embed(torch.tensor([prompt.response_ids[:-1]]))], dim=1)
        logits = generator(inputs_embeds=whole).logits[0, embeds.shape[1] - 1 :]
        expected = torch.nn.functional.cross_entropy(
            logits, torch.tensor(prompt.response_ids), reduction="none"
        )
        (nats,) = coconut.losses([prompt], 1)
        np.testing.assert_allclose(nats, expected.numpy(), atol=1e-4)


def test_batches_are_single_prompts(make_method, held_out, greedy):
    coconut = untrained(make_method, 2)
    prompts = coconut.prompts(held_out)
    together, single = losses(coconut, held_out, 5), losses(coconut, held_out, 1)
    np.testing.assert_allclose(together, single, atol=1e-4)
    written = coconut.respond(prompts, greedy)
    assert written == [coconut.respond([prompt], greedy)[0] for prompt in prompts]


def test_gradients_go_through_the_latent_steps(make_method):
    coconut = make_method(Coconut)
    trainer = build_trainer(coconut.training_config(), coconut.recipe())
    batch = trainer.data_collator(trainer.train_dataset[:2])
    generator = trainer.model.generator

    def gradient(steps):
        trainer.model.zero_grad()
        torch.cat(response_nats(generator, batch, steps)).mean().backward()
        return generator.base_model.layers[0].self_attn.v_proj.weight.grad.clone()

    assert not torch.allclose(gradient(0), gradient(2), atol=1e-6)


def test_latent_steps_come_in_by_stages(make_method):
    coconut = make_method(Coconut, "training.max_steps=8", latent_steps=4)
    trainer = build_trainer(coconut.training_config(), coconut.recipe())
    assert isinstance(trainer, CoconutTrainer)
    stages = []
    trainer.state.max_steps = 8
    for step in range(8):
        trainer.state.global_step = step
        stages.append(trainer.stage())
    assert stages == [0, 1, 2, 3, 4, 4, 4, 4]


@pytest.mark.parametrize("lora", [(), ("lora.r=4",)])
def test_training_lowers_the_loss(make_method, held_out, lora):
    before = losses(untrained(make_method, 2), held_out).mean()
    coconut = make_method(Coconut, "training.max_steps=40", *lora, folder="t", latent_steps=2)
    coconut.train()
    assert losses(coconut, held_out).mean() < before - 0.1
    evals = [e["eval_loss"] for e in coconut.personal.training["log_history"] if "eval_loss" in e]
    assert all(0 < loss < 10 for loss in evals)
