"""Fusion: from thoughts to what the Generator reads, `e(s_p) + λ · P(norm(r_{p-1}))` (paper, §4).

A *thought* is `norm(r)`: the Reasoner's last hidden state `r` after a token, rescaled to the mean
norm of the Generator's embeddings. It is added to the embedding of the token after.
"""

from functools import cached_property

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from flythinker.model.config import FlyThinkerConfig


class Fusion:
    """How thoughts enter a model's Generator; nothing else knows where and how they do.

    Attributes:
        weight: λ, where a call gives no other.
        injection: "global", "input" (thoughts enter in the prompt only) or "output" (in the
            response only). Thoughts on a prompt that the Generator does not read have no place in
            its own: where a Reasoner has a prompt of its own, they enter in the response only.
        projection: the learned d_R → d_G map; `None` adds to the first d_R coordinates ("pad").
    """

    def __init__(
        self, config: FlyThinkerConfig, projection: nn.Module | None, table: nn.Embedding | None
    ) -> None:
        """Fuse as `config` says; `table` is the Generator's embedding table.

        It may be `None` where `norm` is set.
        """
        self.weight: float = config.fusion_weight
        self.injection: str = config.injection
        self.projection = projection
        self._table = table

    @cached_property
    def norm(self) -> Tensor:
        """The norm of a thought, a float32 scalar; reads the whole table when first asked.

        It may be set, to what was measured before or where only a shard of the table is at hand.
        """
        assert self._table is not None
        return mean_embedding_norm(self._table)

    def normalize(self, hidden: Tensor) -> Tensor:
        """Thoughts [..., d_R] from the Reasoner's last hidden states `hidden` [..., d_R]."""
        return rescale(hidden, self.norm)

    def gate(
        self,
        position_ids: Tensor,
        attention_mask: Tensor | None,
        prompt_length: Tensor | None,
        own_prompt: bool | Tensor = False,
    ) -> Tensor:
        """Which positions receive the thought of their predecessor, see `thought_gate`."""
        return thought_gate(position_ids, attention_mask, self.injection, prompt_length, own_prompt)

    def add(
        self, embeds: Tensor, entering: Tensor, gate: Tensor, weight: float | Tensor | None = None
    ) -> Tensor:
        """`e + λ · P(r)` at the positions of `gate`, see `fuse`; `weight` is another λ."""
        weight = self.weight if weight is None else weight
        return fuse(embeds, entering, gate, weight, self.projection)

    def enters_prompt(self, own_prompt: bool = False) -> bool:
        """Whether any thought enters in the Generator's prompt."""
        return not own_prompt and self.injection != "output"

    @property
    def enters_response(self) -> bool:
        """Whether any thought enters in the response; if not, the Reasoner has no own prompt."""
        return self.injection != "input"


def mean_embedding_norm(embedding: nn.Embedding) -> Tensor:
    """Mean L2 norm of an embedding table, as the layers after it see the vectors.

    Returns: a float32 scalar tensor without gradient. Gemma scales what it looks up; that scale
    (`embed_scale`) counts.
    """
    norm = embedding.weight.detach().norm(dim=-1, dtype=torch.float32).mean()
    if isinstance(norm, DTensor):  # of a table that FSDP has sharded
        norm = norm.full_tensor()
    return norm * getattr(embedding, "embed_scale", 1.0)


def rescale(hidden: Tensor, norm: Tensor) -> Tensor:
    """Give each vector the L2 norm `norm`, without gradient through either norm (released code).

    Args:
        hidden: [..., d_R], the Reasoner's last hidden states.
        norm: scalar, the mean norm of the Generator's embeddings.
    """
    own = hidden.detach().norm(dim=-1, keepdim=True, dtype=torch.float32)
    return hidden * (norm / own.clamp_min(1e-6)).to(hidden.dtype)


def shift(thoughts: Tensor, last_thought: Tensor | None) -> Tensor:
    """Move thoughts right by one: the thought added to token p was computed from tokens before p.

    Args:
        thoughts: [batch, seq, d_R] of the tokens now read.
        last_thought: [batch, 1, d_R] of the token before them, `None` at the start of the text.
    """
    first = torch.zeros_like(thoughts[:, :1]) if last_thought is None else last_thought
    return torch.cat([first, thoughts[:, :-1]], dim=1)


def needs_prompt_length(injection: str, own_prompt: bool | Tensor = False) -> bool:
    """Whether it matters to `thought_gate` where a prompt ends."""
    return injection != "global" or own_prompt is not False


def thought_gate(
    position_ids: Tensor,
    attention_mask: Tensor | None,
    injection: str,
    prompt_length: Tensor | None,
    own_prompt: bool | Tensor = False,
) -> Tensor:
    """Which positions receive the thought of their predecessor.

    A token at position 0 starts its sequence and has no predecessor: this holds unpadded, behind
    left padding and at every border of a packed row. A padding token gives and takes no thought.

    Args:
        position_ids: [batch or 1, seq], counted from 0 at the first real token of each sequence.
        attention_mask: [batch, past + seq], 1 = real token; `None` = all real.
        injection: "global", "input" (prompt only) or "output" (response only).
        prompt_length: number of prompt tokens, [batch] or, for packed rows, [batch, seq].
        own_prompt: whether the Reasoner has read a prompt of its own, bool [batch] if rows differ.

    Returns: bool [batch or 1, seq].

    Raises:
        ValueError: `prompt_length` is missing though `injection` needs it.
    """
    gate = position_ids > 0
    if attention_mask is not None:
        seq = position_ids.shape[1]
        real = attention_mask.bool()
        before = nn.functional.pad(real, (1, 0))[:, -seq - 1 : -1]
        gate = gate & real[:, -seq:] & before
    if not needs_prompt_length(injection, own_prompt):
        return gate
    if prompt_length is None:
        what = f'injection="{injection}"' if own_prompt is False else "a Reasoner's own prompt"
        raise ValueError(
            f"{what} needs prompt_length: pass the number of prompt tokens of each row, an int64 "
            "tensor [batch] ([batch, seq] for packed rows)"
        )
    length = prompt_length.to(position_ids.device)
    in_prompt = position_ids < (length[:, None] if length.ndim == 1 else length)
    if injection == "input":
        return gate & in_prompt
    in_response = gate & ~in_prompt
    if injection == "output":
        return in_response
    own = torch.as_tensor(own_prompt, device=gate.device)
    return torch.where(own[..., None], in_response, gate)


def fuse(
    embeds: Tensor, entering: Tensor, gate: Tensor, weight: float | Tensor, linear: nn.Module | None
) -> Tensor:
    """Add the thoughts to the embeddings: `e + λ · P(r)`.

    Args:
        embeds: [batch, seq, d_G].
        entering: thoughts moved right by one, [batch, seq, d_R].
        gate: bool [batch or 1, seq].
        weight: λ.
        linear: the learned d_R → d_G map; `None` adds to the first d_R coordinates ("pad").

    Returns: [batch, seq, d_G] in the dtype of `embeds`.
    """
    thoughts = entering if linear is None else linear(entering)
    thoughts = (weight * gate[..., None] * thoughts).to(embeds.dtype)
    return embeds + nn.functional.pad(thoughts, (0, embeds.shape[-1] - thoughts.shape[-1]))
