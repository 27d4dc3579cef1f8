"""Generation and evaluation by real Ray actors, as on one machine without it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet
import pytest
import ray

from flythinker import progress
from flythinker.bulk.evaluate import BulkMeasure
from flythinker.bulk.generate import BulkSetting, generate_shards
from flythinker.bulk.pool import Pool
from flythinker.data.example import Example, read_examples, sample_examples
from flythinker.data.outputs import read_outputs
from flythinker.data.prompt import PromptConfig, build_prompts
from flythinker.errors import FlyThinkerError
from flythinker.evaluation.evaluate import scorer
from flythinker.generation.files import generate_file
from flythinker.generation.sampling import Sampling
from flythinker.generation.write import text_writer
from flythinker.model_folder import load_model_folder, load_tokenizer, save_model_folder
from flythinker.training.build import build_model
from flythinker.training.config import ModelSection

PROMPT = PromptConfig(k=1, profile_tokens=120, query_tokens=40, response_tokens=60)
GREEDY = Sampling(max_new_tokens=24, temperature=0)
COMMAND = [sys.executable, "-m", "flythinker"]
# Ray's workers would yield to everything else that runs here
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> str:
    """A model folder, not trained."""
    path = tmp_path_factory.mktemp("bulk") / "model"
    section = ModelSection(str(backbone), str(backbone), reasoner_layers=1, fusion_weight=0.2)
    save_model_folder(path, build_model(section, None), load_tokenizer(str(backbone)), PROMPT, {})
    return str(path)


@pytest.fixture(scope="module")
def ten(data: Path) -> list[Example]:
    return read_examples(data / "val.jsonl")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Two actors of one Ray that all tests here use."""
    ray.init(num_cpus=2, object_store_memory=2**27, include_dashboard=False, logging_level="ERROR")
    yield Pool(actors=2)
    ray.shutdown()


def written_here(examples: list[Example], folder: str, out: Path, sampling: Sampling) -> str:
    personal = load_model_folder(folder)
    prompts = build_prompts(examples, personal.tokenizer, personal.prompt)
    generate_file(prompts, text_writer(personal).write_each, examples, out, sampling)
    return out.read_text()


def test_shards_together_are_the_local_runs_file(folder, ten, pool, tmp_path, monkeypatch, capsys):
    setting = BulkSetting(folder, GREEDY, shard_rows=3, slots=4)
    out = tmp_path / "shards"
    generate_shards(ten, setting, pool, out)
    shards = sorted(out.glob("part-*"))
    assert [shard.name for shard in shards] == [f"part-{n:05d}.jsonl" for n in range(4)]
    local = written_here(ten, folder, tmp_path / "local.jsonl", GREEDY)
    assert "".join(shard.read_text() for shard in shards) == local
    assert any(json.loads(line)["output"] for line in local.splitlines())
    assert read_outputs(out, ten) == read_outputs(tmp_path / "local.jsonl", ten)

    # a run that lost a shard makes that one only
    kept = {shard: shard.stat().st_mtime_ns for shard in shards}
    shards[2].unlink()
    monkeypatch.setattr(progress, "FIRST_LINE", 0.0)
    generate_shards(ten, setting, replace(pool, actors=1), out)
    assert "".join(shard.read_text() for shard in shards) == local
    made = [shard for shard in shards if shard.stat().st_mtime_ns != kept[shard]]
    assert made == [shards[2]]
    assert "Writing shards  4/4  done in " in capsys.readouterr().err  # the driver says it
    with pytest.raises(FlyThinkerError, match=r"begun with other settings \(examples: 10 → 9;"):
        generate_shards(ten[1:], setting, pool, out)


@pytest.mark.slow
def test_sampled_texts_are_the_local_runs_whatever_the_shards(folder, ten, pool, tmp_path):
    sampling = Sampling(max_new_tokens=12, temperature=1.0, seed=3)
    texts = []
    for rows, kind in ((2, "parquet"), (5, "jsonl")):
        out = tmp_path / kind
        setting = BulkSetting(folder, sampling, rows, format=kind)
        generate_shards(ten, setting, replace(pool, actors=1), out)
        texts.append(read_outputs(out, ten))
    written_here(ten, folder, tmp_path / "local.jsonl", sampling)
    assert texts[0] == texts[1] == read_outputs(tmp_path / "local.jsonl", ten)
    assert len(set(texts[0])) > 5
    shard = pyarrow.parquet.read_table(tmp_path / "parquet" / "part-00001.parquet")
    assert shard["target"].to_pylist() == [example.target for example in ten[2:4]]


def test_held_out_loss_is_the_local_runs(folder, ten, pool):
    load = partial(scorer, "m", folder, None, 2)
    ours = BulkMeasure(replace(pool, actors=1), shard_rows=3)(load, ten)
    local = load()(ten)
    assert ours.settings == local.settings
    assert ours.characters == local.characters
    for nats, theirs in zip(ours.token_losses, local.token_losses, strict=True):
        np.testing.assert_allclose(nats, theirs, atol=1e-5)


def test_what_an_actor_raises_is_one_line(ten, pool, tmp_path):
    with pytest.raises(FlyThinkerError, match="no model weights") as caught:
        generate_shards(ten, BulkSetting(str(tmp_path), GREEDY), pool, tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_an_actor_without_vllm_says_so(folder, ten, pool, tmp_path):
    setting = BulkSetting(folder, GREEDY, engine="vllm")
    with pytest.raises(FlyThinkerError, match="vLLM is not installed"):
        generate_shards(ten, setting, replace(pool, actors=1), tmp_path / "out")


def test_no_cluster_at_an_address(folder, ten, tmp_path):
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(FlyThinkerError, match=r"no Ray cluster at 127\.0\.0\.1:9"):
        generate_shards(ten, BulkSetting(folder, GREEDY), Pool("127.0.0.1:9"), tmp_path / "out")


# killed


@pytest.fixture
def bulk(folder: str, data: Path, tmp_path: Path) -> list[str]:
    sampling = ["--temperature", "0", "--max-new-tokens", "300"]  # long enough to be caught at it
    options = ["--ray", "--actors", "2", "--shard-rows", "1", "--out", str(tmp_path / "shards")]
    return [*COMMAND, "generate", str(data / "val.jsonl"), "--model", folder, *sampling, *options]


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_shards(number: int, out: Path, process: subprocess.Popen[str]) -> list[Path]:
    while len(list(out.glob("part-*"))) < number:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    return sorted(out.glob("part-*"))


def actors(process: subprocess.Popen[str]) -> list[psutil.Process]:
    started = psutil.Process(process.pid).children(recursive=True)
    return [p for p in started if p.is_running() and "MapWorker" in " ".join(p.cmdline())]


@pytest.mark.slow
def test_a_killed_actor_loses_and_repeats_nothing(bulk, folder, ten, tmp_path):
    process = start(bulk)
    wait_for_shards(1, tmp_path / "shards", process)
    victim = actors(process)[0]
    victim.send_signal(signal.SIGKILL)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    shards = sorted((tmp_path / "shards").glob("part-*"))
    sampling = Sampling(max_new_tokens=300, temperature=0)
    local = written_here(sample_examples(ten, None), folder, tmp_path / "local.jsonl", sampling)
    assert "".join(shard.read_text() for shard in shards) == local


@pytest.mark.slow
def test_a_killed_run_does_the_missing_shards_only(bulk, folder, ten, tmp_path):
    process = start(bulk)
    out = tmp_path / "shards"
    wait_for_shards(2, out, process)
    process.kill()
    process.communicate(timeout=60)
    before = {shard: shard.stat().st_mtime_ns for shard in out.glob("part-*")}
    assert len(before) < 10, "the run ended before it could be killed"
    again = start(bulk)
    printed, _ = again.communicate(timeout=300)
    assert again.returncode == 0, printed
    assert "Traceback" not in printed
    shards = sorted(out.glob("part-*"))
    assert {shard: shard.stat().st_mtime_ns for shard in before} == before
    assert not list(out.glob(".*"))
    sampling = Sampling(max_new_tokens=300, temperature=0)
    local = written_here(sample_examples(ten, None), folder, tmp_path / "local.jsonl", sampling)
    assert "".join(shard.read_text() for shard in shards) == local


@pytest.mark.slow
def test_evaluate_reads_shards_and_asks_the_actors(bulk, folder, data, tmp_path):
    assert subprocess.run(bulk, env=ENVIRONMENT, check=False).returncode == 0
    command = [*COMMAND, "evaluate", str(data / "val.jsonl"), "--model", f"m={folder}", "--json"]
    shards = ["--outputs", f"m={tmp_path / 'shards'}"]
    shown = []
    for options in (["--ray", "--shard-rows", "4"], []):
        done = subprocess.run(
            [*command, *shards, *options], env=ENVIRONMENT, capture_output=True, check=True
        )
        shown.append(json.loads(done.stdout))
    assert shown[0]["rows"][0]["metrics"]["rouge1"] == shown[1]["rows"][0]["metrics"]["rouge1"]
    ours, local = (one["rows"][0]["metrics"]["loss"]["value"] for one in shown)
    assert ours == pytest.approx(local, abs=1e-5)
