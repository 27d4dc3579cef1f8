"""`flythinker serve`."""

import asyncio
import ipaddress
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flythinker.cli.options import Dtype
from flythinker.serving.settings import DEFAULT_DATABASE

if TYPE_CHECKING:
    from flythinker.generation.backends.protocol import Engine
    from flythinker.hardware import Precision
    from flythinker.serving.settings import ServerSettings

app = typer.Typer()

MiB = 2**20


@app.command(
    epilog="Example: flythinker serve --model runs/sotu/flythinker/model --slots 8 --port 8000"
)
def serve(
    model: Annotated[str, typer.Option(help="A trained model folder, or a base model's name.")],
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    database: Annotated[
        str,
        typer.Option(
            envvar="FLYTHINKER_DATABASE",  # a password in a command can be seen by everybody
            help="Where users' writings are: sqlite:///… or postgresql://…",
        ),
    ] = DEFAULT_DATABASE,
    name: Annotated[
        str | None, typer.Option(help="What clients call the model; default: its folder.")
    ] = None,
    dtype: Dtype = "auto",
    engine: Annotated[
        Literal["local", "vllm"],
        typer.Option(help="What writes: this process, or a vLLM that it starts and stops."),
    ] = "local",
    vllm_args: Annotated[
        str, typer.Option(help="With --engine vllm: arguments of `vllm serve`, in quotes.")
    ] = "",
    slots: Annotated[int, typer.Option(help="Texts written at the same time.", min=1)] = 8,
    max_queue: Annotated[int, typer.Option(help="Texts that may wait for a slot.", min=0)] = 64,
    prefix_mib: Annotated[
        int, typer.Option(help="Memory for prompts read before, in MiB.", min=0)
    ] = 1024,
    remote: Annotated[
        str | None,
        typer.Option(help="Write with this OpenAI-compatible vLLM that serves --model, not here."),
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(help="How long running texts may go on after SIGTERM.", min=0)
    ] = 30,
    max_concurrent_requests: Annotated[int, typer.Option(min=1)] = 256,
    requests_per_minute: Annotated[
        int, typer.Option(help="Of one tenant, 0 = as many as they like.", min=0)
    ] = 600,
    max_body_bytes: Annotated[int, typer.Option(min=1)] = 2 * MiB,
    max_document_chars: Annotated[int, typer.Option(min=1)] = 200_000,
    max_documents_per_user: Annotated[int, typer.Option(min=1)] = 10_000,
    log_texts: Annotated[
        bool, typer.Option("--log-texts", help="Log prompts and texts; they are private.")
    ] = False,
) -> None:
    """Serve a model by the OpenAI protocol, personalized by users' stored writings."""
    import uvicorn

    from flythinker.serving.app import create_app
    from flythinker.serving.ops.logs import log_as_json
    from flythinker.serving.ops.vllm_server import vllm_server
    from flythinker.serving.settings import ServerSettings
    from flythinker.serving.storage.store import Store

    writing: Engine

    class Server(uvicorn.Server):
        """Lets texts finish while the port is still open, so that probes see it is not ready."""

        async def shutdown(self, *arguments: object, **options: object) -> None:
            closing = asyncio.create_task(writing.close(drain_seconds))
            while not closing.done() and not self.force_exit:
                await asyncio.sleep(0.05)
            await super().shutdown(*arguments, **options)  # type: ignore[arg-type]

    if remote and engine == "vllm":
        raise typer.BadParameter("--engine vllm starts a vLLM of its own: leave --remote out")
    if vllm_args and engine != "vllm":
        raise typer.BadParameter("--vllm-args are for --engine vllm")
    store = Store.open(database)
    keys = store.has_keys()
    if not keys and not _is_loopback(host):
        raise typer.BadParameter(
            f"{host} can be reached from outside, but there is no API key: make one with "
            "`flythinker keys create`, or bind to 127.0.0.1",
            param_hint="--host",
        )
    settings = ServerSettings(
        host=host,
        require_keys=keys,
        max_body_bytes=max_body_bytes,
        max_document_chars=max_document_chars,
        max_documents_per_user=max_documents_per_user,
        requests_per_minute=requests_per_minute,
        max_concurrent_requests=max_concurrent_requests,
        model_name=name or _name(model),
        log_texts=log_texts,
    )
    log_as_json(log_texts)
    with ExitStack() as running:
        if engine == "vllm":
            started = vllm_server(model, settings.model_name, dtype, slots, vllm_args)
            url, longest = running.enter_context(started)
            writing = _remote_engine(model, url, settings, longest)
        elif remote:
            writing = _remote_engine(model, remote, settings)
        else:
            writing = _local_engine(model, dtype, slots, prefix_mib * MiB, max_queue)
        config = uvicorn.Config(
            create_app(settings, store, writing),
            host=host,
            port=port,
            log_config=None,
            access_log=False,  # it shows paths, which name users; `Observer` logs routes
            timeout_graceful_shutdown=5,  # after `drain_seconds`
        )
        Server(config).run()


def _local_engine(
    model: str, dtype: "Precision", slots: int, prefix_bytes: int, max_queue: int
) -> "Engine":
    from flythinker.generation.backends.local import LocalEngine
    from flythinker.generation.writer import Writer
    from flythinker.hardware import as_dtype
    from flythinker.model_folder import load_model_folder

    personal = load_model_folder(model, dtype=as_dtype(dtype))
    writer = Writer(personal, slots, prefix_bytes)
    return LocalEngine(writer, max_queue)


def _remote_engine(
    model: str, url: str, settings: "ServerSettings", longest: int | None = None
) -> "Engine":
    """An endpoint that serves what we know only the tokenizer and the prompts of.

    `longest` is its context length, where it is not the model's.
    """
    import os

    import openai
    from transformers import AutoConfig

    from flythinker.backbones.smollm2 import resolve_backbone
    from flythinker.data.prompt import PromptConfig
    from flythinker.generation.backends.remote import RemoteEngine
    from flythinker.model_folder import load_tokenizer, read_prompt

    client = openai.AsyncOpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    if longest is None:
        config = AutoConfig.from_pretrained(resolve_backbone(model)).get_text_config()
        longest = config.max_position_embeddings
    return RemoteEngine(
        client,
        settings.model_name,
        load_tokenizer(model),
        read_prompt(Path(model)) or PromptConfig(),
        longest,
        settings.max_concurrent_requests,
    )


def _name(model: str) -> str:
    """A folder's name; trainings write theirs as `…/NAME/model`."""
    path = Path(model)
    return path.resolve().parent.name if path.name == "model" else path.name


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: who knows where it leads
        return False
