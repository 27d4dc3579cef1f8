"""Thoughts in vLLM: one vector a token in pages, beside the keys and values.

A token gets the thought of the token before it, which may have been read in this step, in an
earlier one (decode, chunked prefill) or for another request (prefix cache). All are found alike:
thoughts are written by slot and read back through the request's block table.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from vllm.config import VllmConfig
from vllm.forward_context import get_forward_context
from vllm.model_executor.models.extract_hidden_states import (
    CacheOnlyAttentionBackend,
    CacheOnlyAttentionLayer,
)
from vllm.v1.attention.backend import AttentionMetadataBuilder, CommonAttentionMetadata


@dataclass
class ThoughtMetadata:
    """What a step's tokens need besides those before them in the step.

    Attributes:
        before: int64 [tokens], the slot of the token before each; of a text's first token its own.
        prompt_length: [tokens], of the text of each; `None` where the injection is "global".
    """

    before: Tensor
    prompt_length: Tensor | None


class ThoughtMetadataBuilder(AttentionMetadataBuilder[ThoughtMetadata]):
    """Finds the slots of the thoughts through the block table, once a step."""

    def __init__(self, *args: object) -> None:  # abstract in the base class
        super().__init__(*args)

    def build(
        self,
        common_prefix_len: int,
        common_attn_metadata: CommonAttentionMetadata,
        fast_build: bool = False,
    ) -> ThoughtMetadata:
        """See `ThoughtMetadata`."""
        batch = common_attn_metadata
        size = self.kv_cache_spec.block_size
        positions = batch.positions[: batch.num_actual_tokens].long()
        tokens = torch.arange(len(positions), device=positions.device)
        ends = batch.query_start_loc[1:]
        request = torch.searchsorted(ends, tokens.to(ends.dtype), right=True)
        place = (positions - 1).clamp_min(0)
        block = batch.block_table_tensor[request, place // size].long()
        lengths = batch.rswa_prefix_lens  # see `settings._ask_for_prompt_lengths`
        if lengths is not None:
            lengths = lengths.to(request.device)[request]
        return ThoughtMetadata(block * size + place % size, lengths)


class ThoughtCacheBackend(CacheOnlyAttentionBackend):
    """vLLM's backend of layers that only cache, with our metadata."""

    @staticmethod
    def get_name() -> str:
        """Its name in vLLM's logs."""
        return "FLYTHINKER_THOUGHTS"

    @staticmethod
    def get_builder_cls() -> type[ThoughtMetadataBuilder]:
        """What makes the metadata of a step."""
        return ThoughtMetadataBuilder


class ThoughtCache(CacheOnlyAttentionLayer):
    """The thoughts of all tokens in the cache, in the model's dtype whatever that of the keys."""

    def __init__(self, vllm_config: VllmConfig, width: int, prefix: str) -> None:
        """Thoughts of `width` numbers; vLLM wants one number in the name `prefix`."""
        own = replace(vllm_config.cache_config, cache_dtype="auto")
        super().__init__(num_heads=1, head_size=width, cache_config=own, prefix=prefix)

    def get_attn_backend(self) -> type[ThoughtCacheBackend]:
        """How vLLM lays this layer out."""
        return ThoughtCacheBackend

    def metadata(self) -> ThoughtMetadata | None:
        """Of this step; `None` while vLLM only measures memory and there are no pages."""
        step = get_forward_context().attn_metadata
        return None if step is None else step[self.layer_name]

    def forward(self, thoughts: Tensor, metadata: ThoughtMetadata) -> Tensor:
        """Write the thoughts of this step's tokens; read those of the tokens before them.

        Args:
            thoughts: [tokens, width].
            metadata: this step's.

        Returns: as `thoughts`; of a text's first token its own, for the caller to leave out.
        """
        super().forward(thoughts[:, None])
        size = self.kv_cache.shape[2]
        return self.kv_cache[metadata.before // size, 0, metadata.before % size]
