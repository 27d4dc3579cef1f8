"""Bytes of a text file → text, whatever program wrote them."""

import codecs
from pathlib import Path

from flythinker.data.sources.reading import Reading, Unreadable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FEW_BYTES = 64  # of a shorter text nothing tells one single-byte encoding from another


def read_text(file: Path, reading: Reading) -> str:
    """The text of a file; remarks on one that is not UTF-8.

    Raises:
        Unreadable: it is no text at all.
        OSError: it cannot be opened.
    """
    data = file.read_bytes()
    text, encoding = decode(data)
    if encoding:
        reading.remark(file, f"not UTF-8, read as {encoding}; save it as UTF-8 if that is wrong")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode(data: bytes) -> tuple[str, str]:
    """Text, and the encoding that had to be detected (empty for Unicode).

    Raises:
        Unreadable: these bytes are no text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding), ""
            except UnicodeDecodeError:
                raise Unreadable(f"broken {encoding} text; save it as UTF-8") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _detect(data)
    if "\0" in text:
        raise Unreadable("not a text (NUL bytes in it)")
    return text, ""


def _detect(data: bytes) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    if b"\0" in data:
        raise Unreadable("not a text (NUL bytes in it)")
    # A note's few odd bytes are nearly always Windows' Western ones; detection guesses at random.
    odd = bytes(byte for byte in data if byte >= 0x80)
    if len(data) < _FEW_BYTES or len(odd) * 20 < len(data):
        try:
            return data.decode("cp1252"), "cp1252"
        except UnicodeDecodeError:
            pass
    best = from_bytes(data).best()
    if best is None:
        raise Unreadable("its encoding is unknown; save it as UTF-8")
    return str(best), best.encoding
