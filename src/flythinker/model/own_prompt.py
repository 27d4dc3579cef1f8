"""A Reasoner with a prompt of its own: it reads that, and then the Generator's response tokens."""

from typing import Any

import torch
from torch import Tensor

from flythinker.model.cache import FlyThinkerCache, positions
from flythinker.model.fusion import Fusion

ARGUMENTS = ("reasoner_input_ids", "reasoner_attention_mask")
"""What `forward` and `generate` take of it."""


def own_inputs(
    fusion: Fusion,
    cache: FlyThinkerCache | None,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    prompt_length: Tensor | None,
    reasoner_input_ids: Tensor | None,
    reasoner_attention_mask: Tensor | None,
) -> dict[str, Tensor]:
    """What the Reasoner reads now: its own prompt, or behind it in the cache the new tokens.

    Arguments as in `FlyThinkerForCausalLM.forward`. Returns the Reasoner's `input_ids`,
    `attention_mask` and `position_ids`; the cache knows of them then.

    Raises:
        ValueError: own prompts with packed rows, with the injection "input", or given twice.
    """
    past = 0
    if reasoner_input_ids is None:
        assert cache is not None
        assert cache.reasoner_mask is not None
        past = cache.reasoner_mask.shape[1]
        new = torch.ones_like(input_ids)
        if attention_mask is not None:
            new = attention_mask[:, -input_ids.shape[1] :]
        mask = torch.cat([cache.reasoner_mask, new], dim=1)
    else:
        if prompt_length is not None and prompt_length.ndim > 1:
            raise ValueError("reasoner_input_ids do not go with packed rows")
        if not fusion.enters_response:
            raise ValueError(
                'reasoner_input_ids need injection "output" or "global": thoughts on another '
                "prompt have no place in the Generator's"
            )
        if cache is not None and cache.get_seq_length() > 0:
            raise ValueError("give reasoner_input_ids once, with the prompt: the cache keeps them")
        input_ids, mask = reasoner_input_ids, _real(reasoner_input_ids, reasoner_attention_mask)
    if cache is not None:
        cache.reasoner_mask = mask
    return {
        "input_ids": input_ids,
        "attention_mask": mask,
        "position_ids": positions(input_ids, mask, past),
    }


def align(
    hidden: Tensor,
    reasoner_mask: Tensor,
    position_ids: Tensor,
    attention_mask: Tensor | None,
) -> Tensor:
    """Bring the Reasoner's hidden states to the Generator's columns.

    Rows align at the response, which ends both: a token at position p of the Generator stands at
    position p + d of the Reasoner, d being what the Reasoner's row is longer.

    Args:
        hidden: [batch, seq', d_R], one for each of the Reasoner's columns.
        reasoner_mask: [batch, seq'], 1 = real token.
        position_ids: [batch or 1, seq], the Generator's.
        attention_mask: [batch, seq], the Generator's; `None` = all real.

    Returns: [batch, seq, d_R]; in the Generator's prompt, which has no counterpart, anything.
    """
    seq = position_ids.shape[1]
    length = seq if attention_mask is None else attention_mask.sum(-1, keepdim=True)
    longer = reasoner_mask.sum(-1, keepdim=True) - length
    first = reasoner_mask.long().argmax(-1, keepdim=True)
    columns = (first + position_ids + longer).clamp(0, hidden.shape[1] - 1)
    return hidden.gather(1, columns[..., None].expand(-1, -1, hidden.shape[-1]))


def continued(
    input_ids: Tensor,
    reasoner_input_ids: Tensor,
    prompt_length: Tensor,
    attention_mask: Tensor | None = None,
    reasoner_attention_mask: Tensor | None = None,
    **_: Any,
) -> dict[str, Tensor]:
    """The Reasoner's own prompt and the response tokens that `input_ids` hold, such as drafts.

    Raises:
        ValueError: the rows' responses differ in length.
    """
    begun = set((_real(input_ids, attention_mask).sum(-1) - prompt_length).tolist())
    if len(begun) > 1:
        raise ValueError("rows with begun responses of different lengths: generate them apart")
    response = input_ids[:, input_ids.shape[1] - begun.pop() :]
    own = _real(reasoner_input_ids, reasoner_attention_mask)
    return {
        "reasoner_input_ids": torch.cat([reasoner_input_ids, response], dim=1),
        "reasoner_attention_mask": torch.cat([own, torch.ones_like(response)], dim=1),
    }


def _real(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """A mask [batch, seq], also where none is given."""
    return torch.ones_like(input_ids) if attention_mask is None else attention_mask
