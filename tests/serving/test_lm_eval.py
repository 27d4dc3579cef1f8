"""lm-evaluation-harness, unchanged, scores and asks a trained folder; the numbers are ours."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from serving_app import serve_command
from transformers import AutoModelForCausalLM, AutoTokenizer

from flythinker import train
from flythinker.data.batch import IGNORED, Collator, Row
from flythinker.data.example import Example
from flythinker.scoring.losses import token_losses

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm_eval is not installed"),
]
WRITTEN = 12
# as the command `lm_eval`, which first reads the thousands of tasks that it brings
PROGRAM = """
import json, sys
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

folder, task, model, settings = sys.argv[1:]
tasks = TaskManager(include_path=folder, include_defaults=False)
found = simple_evaluate(
    model, settings, tasks=[task], task_manager=tasks, batch_size=2, bootstrap_iters=0
)
shown = ("doc_id", "doc", "filtered_resps")
print(json.dumps([{name: line[name] for name in shown} for line in found["samples"][task]]))
"""
STOP = "zanzibar"


@pytest.fixture
def folder(configure) -> Path:
    """A trained folder, whose thoughts matter."""
    return train(configure())


@pytest.fixture
def tasks(tmp_path: Path, examples: list[Example]) -> Path:
    """Two tasks over five texts of a local file: what is the text worth, and how does it go on."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    lines = [json.dumps({"query": e.query, "target": " " + e.target}) for e in examples[:5]]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "texts.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{query}}",
        "doc_to_target": "{{target}}",
        "target_delimiter": "",
    }
    scored = {"task": "ours_scored", "output_type": "loglikelihood"} | common
    scored["metric_list"] = [{"metric": "acc"}]
    written = {"task": "ours_written", "output_type": "generate_until"} | common
    written["generation_kwargs"] = {"max_gen_toks": WRITTEN, "until": [STOP], "do_sample": False}
    written["metric_list"] = [{"metric": "bleu"}]
    for task in (scored, written):
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(task))
    return folder


def harness(tmp_path: Path, tasks: Path, task: str, model: str, settings: str) -> list[dict]:
    """What a program that knows only the harness was answered for every text, in order."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tasks), task, model, settings],
        env=os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return sorted(json.loads(done.stdout.splitlines()[-1]), key=lambda line: line["doc_id"])


def as_model(folder: Path) -> tuple[str, str]:
    return "hf", f"pretrained={folder},trust_remote_code=True,dtype=float32,device=cpu"


@torch.no_grad()
def greedy(folder: Path, prompt: str) -> str:
    """How our model goes on."""
    model, tokenizer = (
        auto.from_pretrained(folder) for auto in (AutoModelForCausalLM, AutoTokenizer)
    )
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    text = model.generate(ids, max_new_tokens=WRITTEN, do_sample=False)[0, ids.shape[1] :]
    return tokenizer.decode(text, skip_special_tokens=True)


def check_loglikelihoods(folder: Path, lines: list[dict]) -> None:
    """They are those of our own scoring."""
    model, tokenizer = (
        auto.from_pretrained(folder) for auto in (AutoModelForCausalLM, AutoTokenizer)
    )
    for line in lines:
        prompt = tokenizer(line["doc"]["query"]).input_ids
        ids = tokenizer(line["doc"]["query"] + line["doc"]["target"]).input_ids
        n = len(prompt)
        row = Row(input_ids=ids, labels=[IGNORED] * n + ids[n:], prompt_length=n, length=len(ids))
        (nats,) = token_losses(model, [row], Collator(tokenizer.pad_token_id))
        theirs = float(line["filtered_resps"][0][0])
        assert theirs == pytest.approx(-float(nats.sum()), abs=1e-4, rel=1e-6)


def test_loglikelihoods_are_those_of_our_scoring(folder, tasks, tmp_path):
    check_loglikelihoods(folder, harness(tmp_path, tasks, "ours_scored", *as_model(folder)))


def test_texts_are_those_of_our_generate(folder, tasks, tmp_path):
    for line in harness(tmp_path, tasks, "ours_written", *as_model(folder)):
        expected = greedy(folder, line["doc"]["query"])
        assert line["filtered_resps"][0].strip() == expected.strip()


def test_a_running_server_answers_as_local_completions(folder, tasks, tmp_path):
    with serve_command(tmp_path, folder, f"sqlite:///{tmp_path}/store.db") as (url, _):
        settings = f"base_url={url}/v1/completions,model=tiny,tokenizer={folder},num_concurrent=2"
        scored = harness(tmp_path, tasks, "ours_scored", "local-completions", settings)
        written = harness(tmp_path, tasks, "ours_written", "local-completions", settings)
    check_loglikelihoods(folder, scored)
    for line in written:
        expected = greedy(folder, line["doc"]["query"])
        assert line["filtered_resps"][0].strip() == expected.strip()
