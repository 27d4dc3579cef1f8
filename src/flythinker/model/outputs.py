"""What passes of the model and of its Reasoner return."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast


@dataclass
class FlyThinkerOutput(CausalLMOutputWithPast):
    """A causal LM's output and what the Reasoner made of the same tokens, `None` at λ = 0.

    Where the Reasoner has a prompt of its own, it means something from the last prompt token on.

    Attributes:
        thoughts: [batch, seq, d_R], the thought that each token read in this call gives to the
            token *after* it: `reasoner_hidden_state` rescaled, see `Fusion`.
        reasoner_hidden_state: [batch, seq, d_R], the Reasoner's last hidden state at each of them,
            which `draft_logits` are made from.
    """

    thoughts: Tensor | None = None
    reasoner_hidden_state: Tensor | None = None


class Reasoning(NamedTuple):
    """What the Reasoner made of new tokens, and what of that the Generator gets with them.

    Attributes:
        hidden, thoughts: [batch, seq, d_R], see `FlyThinkerOutput`.
        entering: [batch, seq, d_R], for each token the thought of the one before it.
        gate: bool [batch or 1, seq], the tokens that get it.
    """

    hidden: Tensor
    thoughts: Tensor
    entering: Tensor
    gate: Tensor
