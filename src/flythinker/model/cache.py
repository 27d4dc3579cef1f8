"""What a FlyThinker model remembers of the tokens it has read."""

from dataclasses import fields

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from flythinker.model.config import FlyThinkerConfig

# What transformers calls a cache in its arguments and outputs: "cache" since 5.24, before that
# "past_key_values". Callers of a FlyThinker model may use either.
CACHE_NAME = next(
    field.name
    for field in fields(CausalLMOutputWithPast)
    if field.name in ("cache", "past_key_values")
)


class FlyThinkerCache(Cache):
    """The Generator's cache, the Reasoner's cache and the thoughts so far.

    Supports what transformers' generation asks of a cache. Thoughts are kept for every token, not
    only the last, so that cropping (assisted and speculative decoding) is exact.

    Attributes:
        generator, reasoner: a `DynamicCache` each; the Reasoner's stays empty at λ = 0.
        tokens: read so far, padding included. Counted here: a part of layers that keep a state
            instead of keys and values does not know.
        thoughts: [batch, seq, d_R], not shifted; `None` before the first token.
        norm: that of a thought, see `Fusion.norm`, measured once per text; `None` before.
        reasoner_mask: [batch, seq'], 1 = real token, of what a Reasoner with its own prompt has
            read; `None` where it reads what the Generator reads.

    >>> import torch
    >>> from flythinker import FlyThinkerCache, load
    >>> model = load("smollm2-135m").model
    >>> cache = FlyThinkerCache(model.config)
    >>> for token in (504, 3575):  # one at a time; the logits are those of a whole forward
    ...     step = model(input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True)
    >>> cache
    FlyThinkerCache(tokens=2)
    """

    def __init__(self, config: FlyThinkerConfig) -> None:
        self.generator = DynamicCache(config=config.generator_config)
        # an unused Reasoner's cache stays empty, whatever config it was made from
        self.reasoner = DynamicCache(config=config.reasoner_config or config.generator_config)
        self.tokens = 0
        self.thoughts: Tensor | None = None
        self.norm: Tensor | None = None
        self.reasoner_mask: Tensor | None = None

    def __repr__(self) -> str:
        return f"FlyThinkerCache(tokens={self.get_seq_length()})"

    def __len__(self) -> int:
        return len(self.generator)

    @property
    def layers(self) -> list:
        """The layers of both caches (some of transformers' checks walk over them)."""
        return [*self.generator.layers, *self.reasoner.layers]

    def last_thought(self) -> Tensor | None:
        """The thought of the last token read, [batch, 1, d_R].

        Raises:
            ValueError: tokens before were read at λ = 0, so that they have no thoughts.
        """
        thoughts = 0 if self.thoughts is None else self.thoughts.shape[1]
        if thoughts != self.get_seq_length():
            raise ValueError(
                "this cache was filled with fusion_weight 0 and holds no thoughts of some tokens: "
                "start a new cache to decode with another fusion_weight"
            )
        return None if self.thoughts is None else self.thoughts[:, -1:]

    def append(self, thoughts: Tensor) -> None:
        """Remember the thoughts [batch, seq, d_R] of the tokens just read."""
        seen = [] if self.thoughts is None else [self.thoughts]
        self.thoughts = torch.cat([*seen, thoughts], dim=1)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens read, padding included."""
        return self.tokens

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Length and offset of the attention mask of one of the Generator's layers."""
        return self.generator.get_mask_sizes(query_length, layer_idx)

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens; transformers passes their number as a negative integer."""
        self.generator.crop(tokens_to_remove)
        self.tokens += tokens_to_remove
        if self.thoughts is not None:
            self.reasoner.crop(tokens_to_remove)
            self.thoughts = self.thoughts[:, : self.tokens]
        if self.reasoner_mask is not None:
            left = self.reasoner_mask.shape[1] + tokens_to_remove
            self.reasoner_mask = self.reasoner_mask[:, :left]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Let row i continue row `beam_idx[i]` (beam search)."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows `indices`."""
        for cache in (self.generator, self.reasoner):
            cache.reorder_cache(indices)
        if self.thoughts is not None:
            self.thoughts = self.thoughts.index_select(0, indices.to(self.thoughts.device))
        if self.reasoner_mask is not None:
            here = indices.to(self.reasoner_mask.device)
            self.reasoner_mask = self.reasoner_mask.index_select(0, here)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row `repeats` times."""
        for cache in (self.generator, self.reasoner):
            cache.batch_repeat_interleave(repeats)
        if self.thoughts is not None:
            self.thoughts = self.thoughts.repeat_interleave(repeats, dim=0)
        if self.reasoner_mask is not None:
            self.reasoner_mask = self.reasoner_mask.repeat_interleave(repeats, dim=0)

    def activate_past_recording(self) -> None:
        """Keep what a sliding window would drop, so that `crop` can go back."""
        self.generator.activate_past_recording()
        self.reasoner.activate_past_recording()

    def reset(self) -> None:
        """Forget everything."""
        self.generator.reset()
        self.reasoner.reset()
        self.tokens = 0
        self.thoughts = self.norm = self.reasoner_mask = None


def positions(input_ids: Tensor, attention_mask: Tensor | None, past: int) -> Tensor:
    """Positions counted over real tokens, int64 [batch, seq], behind `past` that were read."""
    batch, seq = input_ids.shape
    if attention_mask is None or attention_mask.ndim != 2:
        # a row for each text: some families look theirs up
        return torch.arange(past, past + seq, device=input_ids.device).expand(batch, -1)
    return (attention_mask.long().cumsum(-1) - 1).clamp_min(0)[:, -seq:]
