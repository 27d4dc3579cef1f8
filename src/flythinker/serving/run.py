"""Starting what `flythinker serve` runs: an engine that writes, and the server around it."""

import asyncio
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import openai
import uvicorn
from transformers import AutoConfig, AutoModelForCausalLM

from flythinker.adapter import fingerprint
from flythinker.backbones.packaged import resolve_backbone
from flythinker.data.prompt import PromptConfig
from flythinker.errors import FlyThinkerError
from flythinker.generation.backends.local import LocalEngine
from flythinker.generation.backends.protocol import Engine
from flythinker.generation.backends.remote import RemoteEngine
from flythinker.generation.backends.vllm_adapters import VllmAdapters
from flythinker.generation.write import text_writer
from flythinker.hardware import Precision, as_dtype
from flythinker.model.config import context_length
from flythinker.model.quantization import Quantization
from flythinker.model_folder import load_model_folder, load_tokenizer, read_prompt
from flythinker.serving.app import create_app
from flythinker.serving.learning.learner import Learner
from flythinker.serving.learning.start import NO_REASONER
from flythinker.serving.ops.vllm_server import vllm_server
from flythinker.serving.settings import ServerSettings
from flythinker.serving.storage.store import Store


class _Server(uvicorn.Server):
    """Lets texts finish while the port is still open, so that probes see it is not ready."""

    def __init__(self, config: uvicorn.Config, engine: Engine, drain_seconds: float) -> None:
        super().__init__(config)
        self._engine, self._drain_seconds = engine, drain_seconds

    async def shutdown(self, *arguments: object, **options: object) -> None:
        closing = asyncio.create_task(self._engine.close(self._drain_seconds))
        while not closing.done() and not self.force_exit:
            await asyncio.sleep(0.05)
        await super().shutdown(*arguments, **options)  # type: ignore[arg-type]


def run_server(
    settings: ServerSettings,
    store: Store,
    engine: Engine,
    port: int,
    drain_seconds: float,
    learner: Learner | None = None,
) -> None:
    """Serve on a port until a signal comes; running texts may then go on for `drain_seconds`."""
    config = uvicorn.Config(
        create_app(settings, store, engine, learner),
        host=settings.host,
        port=port,
        log_config=None,
        access_log=False,  # it shows paths, which name users; `Observer` logs routes
        timeout_graceful_shutdown=5,  # after `drain_seconds`
    )
    _Server(config, engine, drain_seconds).run()


def local_engine(
    model: str,
    dtype: Precision,
    slots: int,
    prefix_bytes: int,
    max_queue: int,
    quantization: Quantization | None = None,
) -> tuple[Engine, int]:
    """Load a model into an engine of this process; also says how many numbers the model has."""
    personal = load_model_folder(model, dtype=as_dtype(dtype), quantization=quantization)
    numbers = personal.model.num_parameters()
    return LocalEngine(text_writer(personal, slots, prefix_bytes), max_queue), numbers


def remote_engine(
    model: str,
    client: openai.AsyncOpenAI,
    settings: ServerSettings,
    longest: int | None = None,
    adapters: VllmAdapters | None = None,
) -> Engine:
    """Write with the endpoint of `client`, which serves a model that is not loaded here.

    `longest` is its context length, where it is not the model's; `adapters` are persons' there.
    """
    if longest is None:
        longest = context_length(AutoConfig.from_pretrained(resolve_backbone(model)))
    return RemoteEngine(
        client,
        settings.model_name,
        load_tokenizer(model),
        read_prompt(Path(model)) or PromptConfig(),
        longest,
        settings.max_concurrent_requests,
        adapters,
    )


def endpoint(url: str) -> openai.AsyncOpenAI:
    """A client of an endpoint, with the key of the environment."""
    return openai.AsyncOpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"))


@contextmanager
def vllm_engine(
    model: str,
    dtype: Precision,
    slots: int,
    arguments: str,
    settings: ServerSettings,
    base: str | None = None,
) -> Iterator[Engine]:
    """Write with a vLLM that starts here and ends with the block.

    `base` is the `fingerprint` of the model's Reasoner; with it, persons' adapters are loaded.
    """
    started = vllm_server(model, settings.model_name, dtype, slots, arguments, base is not None)
    with TemporaryDirectory(prefix="flythinker-adapters-") as folder, started as (url, longest):
        client = endpoint(url)
        adapters = VllmAdapters(client, base, Path(folder)) if base else None
        yield remote_engine(model, client, settings, longest, adapters)


def what_learns(model: str) -> tuple[str, int]:
    """The `fingerprint` of a model's Reasoner and how many numbers the model has, on the CPU.

    Raises:
        FlyThinkerError: it has none.
    """
    loaded = AutoModelForCausalLM.from_pretrained(resolve_backbone(model), dtype="auto")
    if getattr(loaded, "reasoner", None) is None:
        raise FlyThinkerError(NO_REASONER)
    return fingerprint(loaded, "reasoner"), loaded.num_parameters()


def model_name(model: str) -> str:
    """A folder's name; trainings write theirs as `…/NAME/model`."""
    path = Path(model)
    return path.resolve().parent.name if path.name == "model" else path.name


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that is bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: who knows where it leads
        return False
