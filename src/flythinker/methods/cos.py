"""CoS: context steering (He et al., 2405.01768)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from flythinker.data.batch import Collator, encode_prompt
from flythinker.data.example import Example
from flythinker.data.histories import without_histories
from flythinker.data.prompt import Prompt
from flythinker.generation.batch_writer import BatchWriter, generate_texts, padded
from flythinker.generation.sampling import Sampling
from flythinker.methods.base import Method
from flythinker.model_folder import PersonalModel
from flythinker.progress import track
from flythinker.scoring.losses import response_logits


@dataclass(frozen=True, kw_only=True)
class SteeredPrompt(Prompt):
    """A prompt and `plain_ids`, the same without the user's past texts."""

    plain_ids: list[int]


@dataclass
class CoS(Method):
    """The untrained Generator, its reaction to the user's past texts made stronger.

    Each token comes from logits(h, x) + α (logits(h, x) - logits(x)), so α = 0 is RAG. Both sides
    have a KV cache of their own and are decoded in batches, by transformers' classifier-free
    guidance with the scale 1 + α. The paper steers by a few words on the user; here the context
    is the retrieved past texts, and α is one number for all users.

    Attributes:
        alpha: how much stronger; the paper tries -1 to 3. Small models lose fluency early.
    """

    label: ClassVar[str] = "CoS"

    alpha: float = 0.5

    def prompts(self, examples: Sequence[Example]) -> list[Prompt]:
        """RAG's prompts, each with Non-pers's beside it."""
        both = zip(
            super().prompts(examples), super().prompts(without_histories(examples)), strict=True
        )
        return [
            SteeredPrompt(
                **{field.name: getattr(prompt, field.name) for field in fields(prompt)},
                plain_ids=plain.prompt_ids,
            )
            for prompt, plain in both
        ]

    @torch.inference_mode()
    def losses(self, prompts: Sequence[Prompt], batch_size: int) -> list[NDArray[np.float32]]:
        """Nats of each response token under the steered distribution."""
        starts = range(0, len(prompts), batch_size)
        losses: list[NDArray[np.float32]] = []
        for start in track(starts, f"Held-out loss of {self.label}", unit="/batch"):
            batch = prompts[start : start + batch_size]
            plain = [replace(prompt, prompt_ids=_plain_ids(prompt)) for prompt in batch]
            for (logits, targets), (unsteered, _) in zip(
                self._logits(batch), self._logits(plain), strict=True
            ):
                nats = cross_entropy(self._steer(logits, unsteered), targets, reduction="none")
                losses.append(nats.cpu().numpy())
        return losses

    @cached_property
    def writer(self) -> BatchWriter:
        """Writes with both sides side by side; they share every token written."""
        return BatchWriter(self.personal, self._generate, self.slots)

    def _generate(
        self, personal: PersonalModel, prompts: Sequence[Prompt], samplings: Sequence[Sampling]
    ) -> list[str]:
        plain = padded(personal, [_plain_ids(prompt) for prompt in prompts])
        return generate_texts(
            personal,
            prompts,
            samplings,
            guidance_scale=1 + self.alpha,
            negative_prompt_ids=plain["input_ids"],
            negative_prompt_attention_mask=plain["attention_mask"],
        )

    def _steer(self, logits: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
        steered, unsteered = logits.float().log_softmax(-1), plain.float().log_softmax(-1)
        return steered + self.alpha * (steered - unsteered)

    def _logits(self, prompts: Sequence[Prompt]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        batch = Collator(self.personal.tokenizer.pad_token_id)(
            [encode_prompt(prompt) for prompt in prompts]
        )
        model = self.personal.model
        return response_logits(model, {name: ids.to(model.device) for name, ids in batch.items()})


def _plain_ids(prompt: Prompt) -> list[int]:
    if not isinstance(prompt, SteeredPrompt):
        raise TypeError("CoS answers prompts of its own: make them with CoS.prompts")
    return prompt.plain_ids
