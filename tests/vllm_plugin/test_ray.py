"""`flythinker generate --ray --engine vllm`: Ray's actors hold vLLM."""

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

import os
import subprocess
import sys
from pathlib import Path

from parity import config, model
from transformers import PreTrainedTokenizerFast

from flythinker.data.example import read_examples, sample_examples
from flythinker.data.outputs import read_outputs
from flythinker.data.prompt import PromptConfig, build_prompts
from flythinker.generation.files import generate_file
from flythinker.generation.sampling import Sampling
from flythinker.generation.write import text_writer
from flythinker.model_folder import load_model_folder, save_model_folder

PROMPT = PromptConfig(k=1, profile_tokens=60, query_tokens=40, response_tokens=60)
ENVIRONMENT = os.environ | {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "RAY_worker_niceness": "0",  # or its workers would yield to everything else that runs here
}


@pytest.fixture(scope="module")
def folder(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose thoughts matter, with a real tokenizer."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(backbone)
    ends = dict.fromkeys(("eos_token_id", "bos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    own = {"vocab_size": len(tokenizer), **ends}
    made = model(config("llama", 64, **own), config("llama", 32, **own))
    folder = tmp_path_factory.mktemp("bulk") / "model"
    save_model_folder(folder, made, tokenizer, PROMPT, {})
    return folder


def test_actors_with_vllm_write_the_local_runs_texts(folder: Path, data: Path, tmp_path: Path):
    sampling = ["--temperature", "0", "--max-new-tokens", "24"]
    shards = ["--ray", "--engine", "vllm", "--shard-rows", "4", "--out", str(tmp_path / "shards")]
    command = [sys.executable, "-m", "flythinker", "generate", str(data / "val.jsonl")]
    subprocess.run(
        [*command, "--model", str(folder), *sampling, *shards], env=ENVIRONMENT, check=True
    )
    examples = sample_examples(read_examples(data / "val.jsonl"), None)
    personal = load_model_folder(str(folder))
    prompts = build_prompts(examples, personal.tokenizer, personal.prompt)
    local = tmp_path / "local.jsonl"
    generate_file(prompts, text_writer(personal).write_each, examples, local, Sampling(24, 0))
    assert read_outputs(tmp_path / "shards", examples) == read_outputs(local, examples)
    assert len(set(read_outputs(local, examples))) > 5
