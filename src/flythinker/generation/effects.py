"""What a thought does: how far it moves a prediction, and which words it is near."""

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from transformers import PreTrainedTokenizerBase

from flythinker.generation.cached_part import CachedGenerator
from flythinker.model.fusion import Fusion

WORDS = 5
"""How many near words are shown of each thought."""


class Effect(NamedTuple):
    """What the thoughts of a text did to the prediction at one position.

    `kl` is KL(with ‖ without any thoughts) in nats; `words` are those near the thought that
    entered last, see `NearWords`, none where no thought did.
    """

    kl: float
    words: tuple[str, ...]


def kl_nats(logits: Tensor, without: Tensor) -> Tensor:
    """KL(with ‖ without) of predictions [..., vocab] in nats, float64 [...]."""
    # not every accelerator has float64
    with_logs, logs = (log_softmax(each.cpu().double(), dim=-1) for each in (logits, without))
    return kl_div(logs, with_logs, log_target=True, reduction="none").sum(-1).clamp_min(0)


class ThoughtEffects:
    """Measures the effects of a text's thoughts, from its predictions with and without them."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, generator: CachedGenerator, fusion: Fusion
    ) -> None:
        self._tokenizer = tokenizer
        self._generator = generator
        self._fusion = fusion

    def __call__(
        self,
        logits: Tensor,
        without: Tensor,
        entering: Tensor | None = None,
        gate: Tensor | None = None,
    ) -> list[Effect]:
        """One effect for each of T predictions.

        Args:
            logits, without: [T, vocab], with thoughts and without any.
            entering: [T, d_R], the thought that entered last before each; thoughts have much in
                common, so less what those of the prompt are on average. `None`: none could enter.
            gate: bool [T], where one did.
        """
        head = self._generator.head
        added = logits.new_zeros(len(logits), head.in_features)
        if entering is not None and gate is not None:
            added = self._fusion.add(added, entering, gate, 1.0)
        products = head(added)
        if head.bias is not None:
            products = products - head.bias
        near = self._near_words(products.float())
        pairs = zip(kl_nats(logits, without).tolist(), near, strict=True)
        return [Effect(*pair) for pair in pairs]

    @cached_property
    def _near_words(self) -> "NearWords":  # looks at the whole vocabulary: when first asked
        return NearWords(self._tokenizer, self._generator.head_norms)


class NearWords:
    """Finds the tokens whose rows of the Generator's head are nearest to a vector by angle.

    The head is applied as it is, to unit rows and without the final norm: a thought is added to
    embeddings, and where head and embeddings are tied its rows are what thoughts are added to.

    Attributes:
        ids: the tokens that are considered, see `readable_tokens`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, norms: Tensor) -> None:
        """`norms` [vocab] are the L2 norms of the head's rows."""
        self.tokenizer = tokenizer
        self.ids = readable_tokens(tokenizer, len(norms))
        self._norms = norms.clamp_min(1e-6)
        left_out = torch.ones_like(norms, dtype=torch.bool)
        left_out[self.ids] = False
        self._left_out = left_out

    def __call__(self, products: Tensor, k: int = WORDS) -> list[tuple[str, ...]]:
        """The `k` nearest to each vector, given its products with the head's rows [n, vocab].

        A vector of zeros is near none.
        """
        scores = (products / self._norms).masked_fill(self._left_out, -torch.inf)
        best = scores.topk(min(k, len(self.ids)), dim=-1).indices.tolist()
        return [
            tuple(self.tokenizer.decode([i]) for i in nearest) if some else ()
            for nearest, some in zip(best, products.any(dim=-1).tolist(), strict=True)
        ]


def readable_tokens(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> list[int]:
    """Ids below `vocabulary` that say something by themselves.

    Left out: special and added control tokens, rows of the table that no token has, white space,
    and pieces of a character.
    """
    control = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    ids = [i for i in range(min(vocabulary, len(tokenizer))) if i not in control]
    texts = tokenizer.batch_decode([[i] for i in ids])
    return [i for i, text in zip(ids, texts, strict=True) if text.strip() and "\ufffd" not in text]
