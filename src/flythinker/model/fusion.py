"""Fusion: from thoughts to what the Generator reads, `e(s_p) + λ · norm(r_{p-1})` (paper, §4)."""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def mean_embedding_norm(embedding: nn.Embedding) -> Tensor:
    """Mean L2 norm of an embedding table, as the layers after it see the vectors.

    Returns: a float32 scalar tensor without gradient. Gemma scales what it looks up; that scale
    (`embed_scale`) counts.
    """
    norm = embedding.weight.detach().norm(dim=-1, dtype=torch.float32).mean()
    if isinstance(norm, DTensor):  # of a table that FSDP has sharded
        norm = norm.full_tensor()
    return norm * getattr(embedding, "embed_scale", 1.0)


def rescale(thoughts: Tensor, norm: Tensor) -> Tensor:
    """Give each thought the L2 norm `norm`, without gradient through either norm (released code).

    Args:
        thoughts: [..., d_R].
        norm: scalar, the mean norm of the Generator's embeddings.
    """
    own = thoughts.detach().norm(dim=-1, keepdim=True, dtype=torch.float32)
    return thoughts * (norm / own.clamp_min(1e-6)).to(thoughts.dtype)


def shift(thoughts: Tensor, last_thought: Tensor | None) -> Tensor:
    """Move thoughts right by one: the thought added to token p was computed from tokens before p.

    Args:
        thoughts: [batch, seq, d_R] of the tokens now read.
        last_thought: [batch, 1, d_R] of the token before them, `None` at the start of the text.
    """
    first = torch.zeros_like(thoughts[:, :1]) if last_thought is None else last_thought
    return torch.cat([first, thoughts[:, :-1]], dim=1)


def align(
    thoughts: Tensor,
    reasoner_mask: Tensor,
    position_ids: Tensor,
    attention_mask: Tensor | None,
) -> Tensor:
    """Bring the thoughts of a Reasoner with its own prompt to the Generator's columns.

    Rows align at the response, which ends both: a token at position p of the Generator stands at
    position p + d of the Reasoner, d being what the Reasoner's row is longer.

    Args:
        thoughts: [batch, seq', d_R], one for each of the Reasoner's columns.
        reasoner_mask: [batch, seq'], 1 = real token.
        position_ids: [batch or 1, seq], the Generator's.
        attention_mask: [batch, seq], the Generator's; `None` = all real.

    Returns: [batch, seq, d_R]; in the Generator's prompt, which has no counterpart, anything.
    """
    seq = position_ids.shape[1]
    length = seq if attention_mask is None else attention_mask.sum(-1, keepdim=True)
    longer = reasoner_mask.sum(-1, keepdim=True) - length
    first = reasoner_mask.long().argmax(-1, keepdim=True)
    columns = (first + position_ids + longer).clamp(0, thoughts.shape[1] - 1)
    return thoughts.gather(1, columns[..., None].expand(-1, -1, thoughts.shape[-1]))


def thought_gate(
    position_ids: Tensor,
    attention_mask: Tensor | None,
    injection: str,
    prompt_length: Tensor | None,
) -> Tensor:
    """Which positions receive the thought of their predecessor.

    A token at position 0 starts its sequence and has no predecessor: this holds unpadded, behind
    left padding and at every border of a packed row. A padding token gives and takes no thought.

    Args:
        position_ids: [batch or 1, seq], counted from 0 at the first real token of each sequence.
        attention_mask: [batch, past + seq], 1 = real token; `None` = all real.
        injection: "global", "input" (prompt only) or "output" (response only).
        prompt_length: number of prompt tokens, [batch] or, for packed rows, [batch, seq].

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
    if injection == "global":
        return gate
    if prompt_length is None:
        raise ValueError(
            f'injection="{injection}" needs prompt_length: pass the number of prompt tokens of '
            "each row, an int64 tensor [batch] ([batch, seq] for packed rows)"
        )
    length = prompt_length.to(position_ids.device)
    in_prompt = position_ids < (length[:, None] if length.ndim == 1 else length)
    return gate & (in_prompt if injection == "input" else ~in_prompt)


def fuse(
    embeds: Tensor, shifted: Tensor, gate: Tensor, weight: float | Tensor, linear: nn.Linear | None
) -> Tensor:
    """Add the thoughts to the embeddings: `e + λ · P(r)`.

    Args:
        embeds: [batch, seq, d_G].
        shifted: [batch, seq, d_R], rescaled and moved right by one.
        gate: bool [batch or 1, seq].
        weight: λ.
        linear: the learned d_R → d_G map; `None` adds to the first d_R coordinates ("pad").

    Returns: [batch, seq, d_G] in the dtype of `embeds`.
    """
    thoughts = linear(shifted) if linear is not None else shifted
    thoughts = (weight * gate[..., None] * thoughts).to(embeds.dtype)
    return embeds + nn.functional.pad(thoughts, (0, embeds.shape[-1] - thoughts.shape[-1]))
