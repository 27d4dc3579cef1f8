"""What transformers' generation must know about a model of two parts."""

from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin

from flythinker.model.cache import CACHE_NAME, FlyThinkerCache

_REASONER_PROMPT = ("reasoner_input_ids", "reasoner_attention_mask")


class ThinkingGenerationMixin(GenerationMixin):
    """transformers' `generate` with every strategy, over a `FlyThinkerCache`."""

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """As transformers' `generate`, with every strategy; `fusion_weight` may be given.

        With the injections "input" and "output", and with `reasoner_input_ids`, the prompt of each
        row counts as `prompt_length` unless that is given. `reasoner_input_ids` (padded on the
        left, as all prompts are) hold the Reasoner's own prompt only; it goes on with what
        `input_ids` hold after `prompt_length`.

        Raises:
            ValueError: the prompts' lengths cannot be known (a batch without attention mask).
        """
        apart = kwargs.get("reasoner_input_ids") is not None
        ends = apart or self.config.injection != "global"  # where the prompt ends matters
        if ends and kwargs.get("prompt_length") is None:
            ids = inputs if inputs is not None else kwargs["input_ids"]
            mask = kwargs.get("attention_mask")
            if mask is None and len(ids) > 1:
                why = "reasoner_input_ids" if apart else f'injection="{self.config.injection}"'
                raise ValueError(
                    f"{why} with a batch needs attention_mask (or prompt_length) to tell prompts "
                    "from padding"
                )
            kwargs["prompt_length"] = (torch.ones_like(ids) if mask is None else mask).sum(-1)
        for name in ("cache", "past_key_values"):  # either, in every version of transformers
            if name in kwargs:
                kwargs[CACHE_NAME] = kwargs.pop(name)
        return super().generate(inputs, *args, **kwargs)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """As transformers'; the Reasoner's own prompt is read once where there is a cache."""
        cache = kwargs.get(CACHE_NAME)
        if cache is not None and cache.get_seq_length() > 0:
            kwargs = {key: kwargs[key] for key in kwargs if key not in _REASONER_PROMPT}
        elif kwargs.get("reasoner_input_ids") is not None:
            kwargs |= _continued(input_ids, **kwargs)
        return super().prepare_inputs_for_generation(input_ids, *args, **kwargs)

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict, *args: Any
    ) -> None:
        if generation_config.cache_implementation not in (None, "dynamic"):
            kind = generation_config.cache_implementation
            raise ValueError(
                f"cache_implementation={kind!r} is not supported: FlyThinker "
                "keeps two dynamic caches; leave it out"
            )
        if model_kwargs.get(CACHE_NAME) is None and generation_config.use_cache:
            model_kwargs[CACHE_NAME] = cache = FlyThinkerCache(self.config)
            if generation_config.is_assistant:  # it will be rolled back
                cache.activate_past_recording()
        else:
            super()._prepare_cache_for_generation(generation_config, model_kwargs, *args)

    def _get_candidate_generator(self, *, model_kwargs: dict, **kwargs: Any) -> Any:
        # an assistant is another model, with its own λ and its own idea of a prompt
        own = ("fusion_weight", "prompt_length", *_REASONER_PROMPT)
        theirs = {key: value for key, value in model_kwargs.items() if key not in own}
        return super()._get_candidate_generator(model_kwargs=theirs, **kwargs)


def _continued(
    input_ids: Tensor,
    reasoner_input_ids: Tensor,
    prompt_length: Tensor,
    attention_mask: Tensor | None = None,
    reasoner_attention_mask: Tensor | None = None,
    **_: Any,
) -> dict[str, Tensor]:
    """The Reasoner's own prompt and the response tokens that `input_ids` hold, such as drafts."""
    read = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    begun = set((read.sum(-1) - prompt_length).tolist())
    if len(begun) > 1:
        raise ValueError("rows with begun responses of different lengths: generate them apart")
    response = input_ids[:, input_ids.shape[1] - begun.pop() :]
    own = reasoner_attention_mask
    own = torch.ones_like(reasoner_input_ids) if own is None else own
    return {
        "reasoner_input_ids": torch.cat([reasoner_input_ids, response], dim=1),
        "reasoner_attention_mask": torch.cat([own, torch.ones_like(response)], dim=1),
    }
