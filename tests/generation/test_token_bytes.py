"""The bytes of a text's tokens are the text's."""

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from flythinker.generation.token_bytes import TokenBytes

FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize("text", ["Calm sea.", " naïve – “café”", f"日本 {FAMILY}\n"])
def test_of_a_byte_level_tokenizer(personal, text):
    of = TokenBytes(personal.tokenizer)
    ids = personal.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(map(of, ids)).decode() == text
    for token in ids:
        whole = personal.tokenizer.decode([token])
        if "\ufffd" in whole:
            assert of.name(token).startswith("\\x")
        else:
            assert of.name(token) == whole
    assert of(personal.tokenizer.eos_token_id) == b""
    assert of.name(personal.tokenizer.eos_token_id) == personal.tokenizer.eos_token


def test_of_a_tokenizer_that_falls_back_on_bytes():
    vocabulary = {"▁the": 0, "<0xF0>": 1, "<0x9F>": 2, "sea": 3}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="sea"))
    backend.decoder = decoders.ByteFallback()
    of = TokenBytes(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert [of(token) for token in range(4)] == [b" the", b"\xf0", b"\x9f", b"sea"]
    assert of.name(1) == "\\xf0"
