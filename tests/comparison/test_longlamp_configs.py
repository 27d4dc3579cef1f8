"""LongLaMP by config file alone: a tiny sample in the hub's exact format, written for this test."""

from itertools import count
from pathlib import Path
from typing import Any, get_args

import pyarrow
import pyarrow.parquet
import pytest

from flythinker.comparison.config import load_comparison, only
from flythinker.comparison.report import write_comparison
from flythinker.comparison.run import collect, read_test, run
from flythinker.data.example import write_examples
from flythinker.data.longlamp import LongLampConfig, build_longlamp

CONFIGS = Path(__file__).parents[2] / "configs" / "compare"
SIZES = {"train": 4, "val": 2, "test": 4}


def record(task: str, number: int) -> dict[str, Any]:
    """One record with the hub's fields, by one of two users."""
    user, text = f"user {number % 2}", f"Text {number} tells of rain. It is the {number}th."
    past = [f"Past text {number}-{i} tells of snow." for i in range(2)]
    if task == "abstract_generation":
        profile = [
            {"id": str(i), "title": f"Paper {i}", "abstract": old, "year": 2010 + i}
            for i, old in enumerate(past)
        ]
        return {"name": user, "input": f"Abstract {number}", "output": text, "profile": profile}
    if task == "product_review":
        profile = [
            {"overall": "5.0", "summary": f"Item {i}", "description": "A pot.", "reviewText": old}
            for i, old in enumerate(past)
        ]
        return {"reviewerId": user, "input": f"Review {number}", "output": text, "profile": profile}
    profile = [
        {"id": str(i), "author": user, "content": old, "summary": f"Post {i}"}
        for i, old in enumerate(past)
    ]
    return {"author": user, "input": f"Post {number}", "output": text, "profile": profile}


@pytest.mark.parametrize("name", get_args(LongLampConfig))
def test_each_task_has_a_config_with_the_papers_settings(name):
    task, _, split = name.rpartition("_")
    comparison = load_comparison(CONFIGS / f"longlamp-{task}-{split}.yaml")
    config = comparison.config
    assert config.data.train == f"data/longlamp/{name}/train.jsonl"
    assert comparison.section.test == f"data/longlamp/{name}/test.jsonl"
    assert config.model.generator == "Qwen/Qwen2.5-3B-Instruct"
    assert (config.model.fusion_weight, config.training.learning_rate) == (0.5, 5e-6)
    assert (config.prompt.profile_tokens, config.prompt.query_tokens) == (1250, 300)
    assert (comparison.section.temperature, comparison.section.top_p) == (0.8, 0.95)
    assert len(comparison.trials) == 10


def _runs() -> list[Any]:
    """The user splits always; the temporal ones, whose fields are the same, in the slow run."""
    return [
        pytest.param(name, marks=pytest.mark.slow if name.endswith("temporal") else ())
        for name in get_args(LongLampConfig)
    ]


@pytest.mark.parametrize("name", _runs())
def test_a_sample_in_the_hubs_format_runs_by_its_config(name, backbone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task, _, split = name.rpartition("_")
    numbers = count()
    for part, size in SIZES.items():
        table = pyarrow.Table.from_pylist([record(task, next(numbers)) for _ in range(size)])
        Path("hub", name).mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(table, Path("hub", name, f"{part}-00000-of-00001.parquet"))
    for part, examples in build_longlamp(name, Path("hub")).items():
        write_examples(Path("data/longlamp", name, f"{part}.jsonl"), examples)

    small = [
        f"model.generator={backbone}",
        f"model.reasoner={backbone}",
        "training.bf16=false",
        "training.max_steps=1",
        "training.save_strategy=no",
        "training.use_cpu=true",
        "compare.response_tokens=20",
    ]
    comparison = load_comparison(CONFIGS / f"longlamp-{task}-{split}.yaml", small)
    comparison = only(comparison, ["rag", "flythinker"])
    examples = read_test(comparison)
    run(comparison, examples)
    data = write_comparison(comparison, collect(comparison, examples), examples, name)
    assert [row["label"] for row in data["results"]] == ["RAG", "FlyThinker"]
    assert data["examples"] == SIZES["test"]
    assert data["users"] == 2
