"""Text metrics along the response: does a method's text get worse as it gets longer?

The paper compares the response's tokens 0-100, 100-200 and 200-300 one by one and finds that
quality falls in the later ones ("context drift"), least with thoughts.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from flythinker.errors import FlyThinkerError
from flythinker.evaluation.compare import Measurements, MethodResult, compared, measure_texts
from flythinker.progress import track

SEGMENT_METRICS = ("rouge1", "rouge2", "rougeL", "corpus_bleu", "meteor", "bertscore")
"""Keys of `METRICS` that are measured by segment."""


class SegmentMetrics(NamedTuple):
    """Metrics of response tokens `start` to `end` (exclusive), of `n_examples` texts.

    `n_ended` of the predictions ended before `start`.
    """

    start: int
    end: int
    n_examples: int
    n_ended: int
    measured: Measurements


def segment_texts(text: str, tokenizer: PreTrainedTokenizerBase, width: int = 100) -> list[str]:
    """Cut `text` after every `width` tokens; the pieces joined are the text, to the character.

    A cut may fall inside a word. Raises `FlyThinkerError` for a tokenizer that does not tell where
    its tokens lie in the text.
    """
    if not text:
        return []
    if not tokenizer.is_fast:
        raise FlyThinkerError(
            f"{type(tokenizer).__name__} cannot cut a text in segments; use a fast tokenizer"
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    starts = [start for start, _ in encoded["offset_mapping"]][width::width]
    return [text[start:end] for start, end in pairwise([0, *starts, len(text)])]


def metrics_by_segment(
    predictions: Sequence[str],
    references: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    width: int = 100,
    last: int = 300,
    bert_model: str | None = None,
) -> list[SegmentMetrics]:
    """Score segment i of each prediction against segment i of its reference.

    Segments begin at tokens 0, `width`, 2 `width`, … before `last`. Each holds the examples whose
    *reference* reaches it, so all methods are measured on the same ones; a prediction that ended
    before scores 0 there. A segment that no reference reaches is left out.
    """
    ours = [segment_texts(text, tokenizer, width) for text in predictions]
    theirs = [segment_texts(text, tokenizer, width) for text in references]
    segments = []
    for i, start in enumerate(range(0, last, width)):
        pairs = [
            (our[i] if len(our) > i else "", their[i])
            for our, their in zip(ours, theirs, strict=True)
            if len(their) > i
        ]
        if not pairs:
            break
        pieces = [prediction for prediction, _ in pairs]
        measured = measure_texts(pieces, [reference for _, reference in pairs], bert_model)
        measured = {metric: measured[metric] for metric in SEGMENT_METRICS if metric in measured}
        n_ended = sum(not piece.strip() for piece in pieces)
        segments.append(SegmentMetrics(start, start + width, len(pairs), n_ended, measured))
    return segments


def compare_segments(
    results: Sequence[MethodResult],
    references: Sequence[str],
    baseline: str,
    tokenizer: PreTrainedTokenizerBase,
    width: int = 100,
    last: int = 300,
    bert_model: str | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """The text metrics along the response, by name of each method that wrote texts.

    One JSON-able row per segment of `metrics_by_segment`: `start`, `end`, `n_examples`, `n_ended`
    and `metrics`, whose cells are those of `compare`, which has checked the same `results` before.
    """
    measured = {
        result.name: metrics_by_segment(
            result.predictions, references, tokenizer, width, last, bert_model
        )
        for result in track(results, "Scoring segments", transient=True)
        if result.predictions is not None
    }
    return {name: _rows(segments, measured.get(baseline)) for name, segments in measured.items()}


def _rows(
    segments: list[SegmentMetrics], baseline: list[SegmentMetrics] | None
) -> list[dict[str, Any]]:
    # Against itself a method has no difference, so that is its baseline where there is none.
    return [
        {
            "start": ours.start,
            "end": ours.end,
            "n_examples": ours.n_examples,
            "n_ended": ours.n_ended,
            "metrics": {
                metric: compared(metric, ours.measured, theirs.measured) for metric in ours.measured
            },
        }
        for ours, theirs in zip(segments, baseline or segments, strict=True)
    ]
