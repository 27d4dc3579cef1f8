"""Where texts end, by how training cuts long responses: its labels, and what two trainings wrote.

python benchmarks/texts_end.py results/texts-end --train data/novels/train.jsonl \
  --tokenizer runs/texts-end-token/sft-s2/train/model --out results/texts-end.json

`results/texts-end/{sentence,token}` hold `sft-s2` and `flythinker-s2`, made by

flythinker compare configs/compare/nano.yaml --only sft,flythinker --set compare.seeds=[2] \
  --set prompt.response_cut=token --set training.output_dir=runs/texts-end-token \
  --set 'compare.measure=[loss,texts]' --set compare.batch_size=32 --set compare.examples=144 \
  --set compare.results=results/texts-end/token

and the same with `sentence`.
"""

import argparse
import json
import random
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flythinker.data.example import read_examples
from flythinker.data.profile import cut_to_tokens, sentence_ends
from flythinker.data.prompt import text_ids
from flythinker.files import atomic_write
from flythinker.model_folder import load_tokenizer
from flythinker.scoring.metrics import text_metrics
from flythinker.scoring.significance import mean_statistics, paired_difference, ratio

BUDGET = 272  # `prompt.response_tokens` of nano.yaml
TEXTS = 4000  # of the training texts
WIDTH = 30
EARLY = (262, 295)  # tokens, of a limit of 300
METRICS = ("rouge1", "rouge2", "rougeL", "meteor", "length")


def ends_by_position(train: Path, tokenizer: Any) -> list[dict[str, float]]:
    """Of sentence ends, the share that end the text: really, and of those labels that are left.

    A cut at a sentence leaves no label after the last sentence that fits.
    """
    tokenize = partial(text_ids, tokenizer)
    examples = list(read_examples(train))
    random.Random(0).shuffle(examples)
    there: Counter[int] = Counter()
    last: Counter[int] = Counter()
    labelled: Counter[int] = Counter()
    labelled_last: Counter[int] = Counter()
    for example in examples[:TEXTS]:
        text = example.target.strip()
        whole = len(tokenize(text)) <= BUDGET
        kept = len(cut_to_tokens(text, BUDGET, tokenize))
        for end in sentence_ends(text):
            tokens = len(tokenize(text[:end]))
            bucket = tokens // WIDTH * WIDTH
            there[bucket] += 1
            last[bucket] += end == len(text)
            if tokens <= BUDGET and (whole or end < kept):
                labelled[bucket] += 1
                labelled_last[bucket] += end == len(text)
    return [
        {
            "from": bucket,
            "ends": there[bucket],
            "last": last[bucket] / there[bucket],
            "labelled": labelled[bucket],
            "labelled_last": labelled_last[bucket] / max(1, labelled[bucket]),
        }
        for bucket in sorted(there)
    ]


def written(results: Path, tokenizer: Any) -> dict[str, Any]:
    """How early texts end, their metrics, and FlyThinker − SFT with 95 % intervals over texts."""
    scores, figures = {}, {}
    for name in ("sft", "flythinker"):
        lines = (results / f"{name}-s2" / "outputs.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        outputs, targets = [r["output"] for r in rows], [r["target"] for r in rows]
        scores[name] = text_metrics(outputs, targets)
        figures[name] = _early(outputs, tokenizer) | {
            metric: float(scores[name][metric].mean()) for metric in METRICS
        }
        figures["real"] = _early(targets, tokenizer)
    ours, theirs = scores["flythinker"], scores["sft"]
    differences = {
        metric: asdict(
            paired_difference(mean_statistics(ours[metric]), mean_statistics(theirs[metric]), ratio)
        )
        for metric in METRICS
    }
    return figures | {"texts": len(rows), "difference": differences}


def _early(texts: list[str], tokenizer: Any) -> dict[str, float]:
    lengths = np.array([len(text_ids(tokenizer, text.strip())) for text in texts])
    return {f"before_{early}": float((lengths < early).mean()) for early in EARLY}


def main() -> None:
    """Count, score and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(arguments.tokenizer)
    data: dict[str, Any] = {"labels": ends_by_position(arguments.train, tokenizer)}
    for cut in ("sentence", "token"):
        data[cut] = written(arguments.results / cut, tokenizer)
    with atomic_write(arguments.out) as file:
        json.dump(data, file, indent=1)


if __name__ == "__main__":
    main()
