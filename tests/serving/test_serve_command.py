"""The server as a process: how it refuses to start, is asked, and ends."""

import json
import shutil
import signal
import subprocess
from importlib.util import find_spec

import httpx
import pytest
import torch
from serving_app import serve_command
from transformers import AutoModel, AutoModelForCausalLM, MambaConfig
from typer.testing import CliRunner

from flythinker import FlyThinkerForCausalLM, PromptConfig
from flythinker.cli.main import app
from flythinker.errors import FlyThinkerError
from flythinker.model_folder import load_tokenizer, save_model_folder
from flythinker.serving.run import is_loopback
from flythinker.serving.storage.store import Store

LONG = {"model": "tiny", "prompt": "zanzibar", "max_tokens": 200, "stream": True}


@pytest.fixture
def run(backbone, tmp_path):
    """`run(option, …)`: a running server, its URL and its process."""
    database = f"sqlite:///{tmp_path}/store.db"
    return lambda *options: serve_command(tmp_path, backbone, database, *options)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_a_public_address_without_keys_is_refused(host, backbone, tmp_path):
    database = f"sqlite:///{tmp_path}/store.db"
    options = ["--model", str(backbone), "--database", database, "--host", host]
    done = CliRunner().invoke(app, ["serve", *options], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "keys create" in done.output


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_must_be_installed_to_be_started(backbone, tmp_path):
    options = ["--model", str(backbone), "--database", f"sqlite:///{tmp_path}/store.db"]
    done = CliRunner().invoke(app, ["serve", *options, "--engine", "vllm"])
    assert isinstance(done.exception, FlyThinkerError)
    assert "pip install '.[vllm]'" in str(done.exception)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--engine", "vllm", "--remote", "http://x/v1"], "--remote"),
        (["--vllm-args", "-q"], "vllm"),
    ],
)
def test_options_that_do_not_go_together(options, word, backbone):
    done = CliRunner().invoke(app, ["serve", "--model", str(backbone), *options])
    assert done.exit_code == 2
    assert word in done.output


def test_what_is_this_machine():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))


def test_with_keys_a_public_address_is_fine_and_keys_are_needed(run, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    key, secret = store.create_key("acme")
    with run() as (url, _):
        assert httpx.get(f"{url}/v1/models").status_code == 401
        header = {"Authorization": f"Bearer {secret}"}
        assert httpx.get(f"{url}/v1/models", headers=header).status_code == 200
        store.revoke_key(key.id)
        assert httpx.get(f"{url}/v1/models", headers=header).status_code == 401
    store.close()


def test_curl_streams_a_text(run):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Go."}]}
    with run() as (url, _):
        command = ["curl", "-sN", f"{url}/v1/chat/completions"]
        command += ["-H", "Content-Type: application/json"]
        command += ["-d", json.dumps(body | {"max_tokens": 5, "stream": True})]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    events = done.stdout.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert json.loads(events[0].removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_a_family_without_slots_is_served_one_text_after_the_other(backbone, tmp_path):
    """Its layers keep a state, not keys and values of each token; the log says that it is slow."""
    tokenizer = load_tokenizer(str(backbone))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
    config = MambaConfig(vocab_size=len(tokenizer), eos_token_id=None, **sizes)
    parts = AutoModelForCausalLM.from_config(config), AutoModel.from_config(config)
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(*parts)
    save_model_folder(tmp_path / "mamba", model, tokenizer, PromptConfig(), {})
    prompts = [tokenizer(text).input_ids for text in ("The sea", "Snow fell all night")]
    asked = {"model": "tiny", "prompt": prompts, "max_tokens": 12, "temperature": 0}
    database = f"sqlite:///{tmp_path}/store.db"
    with serve_command(tmp_path, tmp_path / "mamba", database) as (url, _):
        together = httpx.post(f"{url}/v1/completions", json=asked).json()
    assert "layer 0" in (log := (tmp_path / "log").read_text())
    assert "its texts are written one after the other: that is slower" in log
    for ids, choice in zip(prompts, together["choices"], strict=True):
        written = model.generate(torch.tensor([ids]), max_new_tokens=12)[0, len(ids) :]
        assert tokenizer.decode(written, skip_special_tokens=True) == choice["text"]


def test_sigterm_lets_a_running_stream_finish_and_logs_no_text(run, tmp_path):
    with run() as (url, process):
        with httpx.stream("POST", f"{url}/v1/completions", json=LONG, timeout=60) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            process.terminate()
            rest = [line for line in lines if line]
        process.join(20)
        assert process.exitcode in (0, -signal.SIGTERM)
    assert "choices" in first
    assert rest[-1] == "data: [DONE]"
    assert "finish_reason" in rest[-2]
    assert "error" not in rest[-2]
    logs = (tmp_path / "log").read_text()
    assert '"route": "/v1/completions", "status": 200' in logs
    assert "zanzibar" not in logs


def test_what_does_not_finish_in_time_ends_with_an_error_event(backbone, tmp_path):
    roomy = shutil.copytree(backbone, tmp_path / "roomy")  # for a text that takes seconds
    config = json.loads((roomy / "config.json").read_text())
    (roomy / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}))
    database = f"sqlite:///{tmp_path}/store.db"
    endless = LONG | {"max_tokens": 8000, "temperature": 0}  # greedily, it never ends by itself
    with serve_command(tmp_path, roomy, database, "--drain-seconds", 0) as (url, process):
        with httpx.stream("POST", f"{url}/v1/completions", json=endless, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.terminate()
            rest = [line for line in lines if line]
        process.join(20)
        assert process.exitcode in (0, -signal.SIGTERM)
    assert rest[-1] == "data: [DONE]"
    assert "shutting down" in json.loads(rest[-2].removeprefix("data: "))["error"]["message"]
