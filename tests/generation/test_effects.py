"""What a thought does: its KL divergence, and the words that it is near."""

import math

import torch
from torch.testing import assert_close

from flythinker.generation.effects import NearWords, kl_nats, readable_tokens


def test_kl_is_that_of_the_definition():
    logits, without = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[0.0, 0.0]])
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert_close(kl_nats(logits, without), torch.tensor([expected]).double())
    assert kl_nats(logits, logits).item() == 0


def test_the_nearest_word_of_a_heads_own_row_is_its_token(tokenizer):
    head = torch.randn(len(tokenizer) + 7, 32, generator=torch.Generator().manual_seed(0))
    near_words = NearWords(tokenizer, head.norm(dim=-1))
    chosen = near_words.ids[::40]
    found = near_words(0.01 * head[chosen] @ head.T, k=3)
    assert [words[0] for words in found] == [tokenizer.decode([i]) for i in chosen]
    assert {len(words) for words in found} == {3}
    assert near_words(torch.zeros(1, len(head))) == [()]


def test_control_tokens_white_space_and_pieces_of_characters_are_no_words(tokenizer):
    readable = set(readable_tokens(tokenizer, len(tokenizer) + 7))
    assert max(readable) < len(tokenizer)
    vocabulary = tokenizer.get_vocab()
    for left_out in ("<|im_start|>", "<|im_end|>", "Ġ", "Ċ", "Ã"):
        assert vocabulary[left_out] not in readable
    assert vocabulary["a"] in readable
