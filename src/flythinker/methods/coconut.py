"""Coconut: think once in latent steps, then write (Hao et al., 2412.06769)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

from flythinker.data.batch import IGNORED, Collator, Row, encode_prompt
from flythinker.data.prompt import Prompt
from flythinker.generation.batch_writer import (
    BatchWriter,
    decode_texts,
    draw_arguments,
    prompt_batch,
)
from flythinker.generation.sampling import Sampling
from flythinker.methods.base import Tuned
from flythinker.model.cache import CACHE_NAME
from flythinker.model_folder import PersonalModel
from flythinker.progress import track
from flythinker.training.run import Recipe
from flythinker.training.trainer import FlyThinkerTrainer


@dataclass
class Coconut(Tuned):
    """The Generator trained to take k latent steps before the response.

    A latent step feeds the last hidden state back as the next input embedding; the response goes
    on from the last. Training runs the prompt, the k steps one by one and the response over one
    KV cache, with gradients through all of it. As in the paper, latent steps come in stage by
    stage: 0 at first, all k from the middle of the training on. The paper's stages replace written
    reasoning steps, of which personal writing has none; here they replace nothing.

    Attributes:
        latent_steps: k; with 0 it is SFT.
    """

    label: ClassVar[str] = "Coconut"

    latent_steps: int = 4

    def recipe(self) -> Recipe:
        """Train with latent steps between prompt and response."""
        trainer = partial(CoconutTrainer, latent_steps=self.latent_steps)
        return Recipe(collator=CoconutCollator, trainer=trainer)

    @torch.inference_mode()
    def losses(self, prompts: Sequence[Prompt], batch_size: int) -> list[NDArray[np.float32]]:
        """Nats of each response token after the latent steps."""
        collator = CoconutCollator(self.personal.tokenizer.pad_token_id)
        generator = self.personal.model.generator
        losses: list[NDArray[np.float32]] = []
        starts = range(0, len(prompts), batch_size)
        for start in track(starts, f"Held-out loss of {self.label}", unit="/batch"):
            rows = [encode_prompt(prompt) for prompt in prompts[start : start + batch_size]]
            batch = {name: ids.to(generator.device) for name, ids in collator(rows).items()}
            losses += [
                nats.cpu().numpy() for nats in response_nats(generator, batch, self.latent_steps)
            ]
        return losses

    @cached_property
    def writer(self) -> BatchWriter:
        """Takes the latent steps of a batch together, then decodes as any causal LM does."""
        return BatchWriter(self.personal, self._generate, self.slots)

    @torch.inference_mode()
    def _generate(
        self, personal: PersonalModel, prompts: Sequence[Prompt], samplings: Sequence[Sampling]
    ) -> list[str]:
        generator, batch = personal.model.generator, prompt_batch(personal, prompts)
        embeds = generator.get_input_embeddings()(batch["input_ids"])
        latents, _ = think(generator, embeds, batch["attention_mask"], self.latent_steps)
        responses = generator.generate(
            inputs_embeds=torch.cat([embeds, latents], dim=1),
            attention_mask=extend(batch["attention_mask"], self.latent_steps),
            **draw_arguments(personal, samplings, [0] * len(prompts)),
        )
        return decode_texts(personal, responses)


def think(
    generator: PreTrainedModel, embeds: Tensor, mask: Tensor, steps: int
) -> tuple[Tensor, DynamicCache]:
    """Read left-padded prompts and take latent steps.

    Args:
        embeds: [B, P, d]. mask: [B, P].

    Returns: the latents [B, steps, d], and the cache of all that was read, which is everything but
        the last latent (without latents: but the last token of the prompt).
    """
    cache = DynamicCache(config=generator.config)
    latents = embeds[:, :0]
    unread = embeds
    for step in range(steps):
        inputs = _inputs(unread, extend(mask, step), cache)
        unread = generator.base_model(**inputs).last_hidden_state[:, -1:]
        latents = torch.cat([latents, unread], dim=1)
    if not steps:
        generator.base_model(**_inputs(embeds[:, :-1], mask[:, :-1], cache))
    return latents, cache


def response_nats(generator: PreTrainedModel, batch: dict[str, Tensor], steps: int) -> list[Tensor]:
    """Nats of each row's labelled tokens [n], in a `CoconutCollator` batch."""
    embed, mask, targets = (
        generator.get_input_embeddings(),
        batch["prompt_mask"],
        batch["response_labels"],
    )
    prompt = embed(batch["prompt_ids"])
    latents, cache = think(generator, prompt, mask, steps)
    last = torch.cat([prompt, latents], dim=1)[:, -1:]
    # What predicts token t of the response has read the t tokens before it.
    read = torch.cat([last, embed(targets[:, :-1].clamp(min=0))], dim=1)
    mask = torch.cat([extend(mask, steps), (targets[:, :-1] != IGNORED).to(mask.dtype)], dim=1)
    logits = generator(**_inputs(read, mask, cache)).logits
    return [
        cross_entropy(row[real].float(), labels[real], reduction="none")
        for row, labels, real in zip(logits, targets, targets != IGNORED, strict=True)
    ]


def extend(mask: Tensor, count: int) -> Tensor:
    """The mask [B, S] with `count` more real positions."""
    return torch.cat([mask, mask.new_ones(len(mask), count)], dim=1)


def _inputs(embeds: Tensor, mask: Tensor, cache: DynamicCache) -> dict[str, Any]:
    """What reads new positions [B, S, d] after the cache; `mask` covers both."""
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, mask.shape[1] - embeds.shape[1] :]
    return {
        "inputs_embeds": embeds,
        "attention_mask": mask,
        "position_ids": positions,
        CACHE_NAME: cache,
        "use_cache": True,
    }


class CoconutCollator(Collator):
    """Prompts padded on the left, responses on the right, so that latent steps stand in line."""

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """`prompt_ids` and `prompt_mask` [B, P], `response_labels` [B, T], and `labels` as usual.

        `labels` are what the Trainer counts tokens by.
        """
        prompts = [torch.tensor(row["input_ids"][: row["prompt_length"]]) for row in rows]
        responses = [torch.tensor(row["input_ids"][row["prompt_length"] :]) for row in rows]
        ones = [torch.ones_like(prompt) for prompt in prompts]
        return {
            "prompt_ids": pad_sequence(prompts, True, self.pad_token_id, "left"),
            "prompt_mask": pad_sequence(ones, True, 0, "left"),
            "response_labels": pad_sequence(responses, True, IGNORED),
            "labels": super().__call__(rows)["labels"],
        }


class CoconutTrainer(FlyThinkerTrainer):
    """Cross-entropy on the response after as many latent steps as the stage has."""

    def __init__(self, *args: Any, latent_steps: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.latent_steps = latent_steps

    def stage(self) -> int:
        """Latent steps at the current optimizer step."""
        half = max(1, self.state.max_steps // 2)
        return min(self.latent_steps, self.state.global_step * self.latent_steps // half)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Nats per labelled token, of the optimizer step or of the evaluation set."""
        generator = self.accelerator.unwrap_model(model).generator
        nats = torch.cat(response_nats(generator, inputs, self.stage()))
        if not model.training:  # as in FlyThinkerTrainer
            num_items_in_batch = torch.tensor(self._labels_per_row() * len(inputs["labels"]))
        loss = nats.sum() / (len(nats) if num_items_in_batch is None else num_items_in_batch)
        return (loss, {"loss": loss}) if return_outputs else loss
