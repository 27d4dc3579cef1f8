"""What each token stands for, in bytes: one character may be spread over several tokens."""

import re

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTE = re.compile("<0x([0-9A-F]{2})>")  # how SentencePiece writes a byte that is no character


class TokenBytes:
    """The bytes of a tokenizer's tokens; those of a text's tokens, joined, are the text.

    A control token has none: texts are shown without.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """`tokenizer` is a fast one."""
        self._tokenizer = tokenizer
        self._control = set(tokenizer.all_special_ids)
        self._added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}
        byte_level = "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder)  # or one of several
        names = bytes_to_unicode() if byte_level else {}
        self._bytes = {char: byte for byte, char in names.items()}

    def __call__(self, token_id: int) -> bytes:
        """The bytes of one token; none of an id that is no token's."""
        if token_id in self._control:
            return b""
        if token_id in self._added:
            return self._added[token_id].encode()
        token = str(self._tokenizer.convert_ids_to_tokens(token_id) or "")
        if self._bytes:
            return bytes(self._bytes[char] for char in token)
        if byte := _BYTE.fullmatch(token):
            return bytes.fromhex(byte[1])
        return token.replace("▁", " ").encode()

    def name(self, token_id: int) -> str:
        r"""The token as text: a piece of a character is written `\xf0\x9f`, as OpenAI does."""
        if token_id in self._control:
            return self._added.get(token_id, "")
        raw = self(token_id)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02x}" for byte in raw)
