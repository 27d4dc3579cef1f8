"""`flythinker serve`."""

import re
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Literal

import typer

from flythinker.cli.options import Dtype, Model, Quantized
from flythinker.serving.settings import DEFAULT_DATABASE

app = typer.Typer()

MiB = 2**20


@app.command(
    epilog="Example: flythinker serve --model runs/sotu/flythinker/model --slots 8 --port 8000"
)
def serve(
    model: Model,
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
    quantization: Quantized = None,
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
    user_header: Annotated[
        str | None,
        typer.Option(
            help="Header that names the person, as Open WebUI sends one; set by a front end that "
            "you trust alone. Only with keys."
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Answer web pages of this origin, as app://obsidian.md; * with keys only. May be "
            "repeated. Default: none but the server's own.",
        ),
    ] = None,
    adapt_after: Annotated[
        int | None,
        typer.Option(
            metavar="WORDS",
            help="Learn a user who has so many new words, while nothing is written "
            "(docs/adapt.md); default: never.",
            min=1,
        ),
    ] = None,
    log_texts: Annotated[
        bool, typer.Option("--log-texts", help="Log prompts and texts; they are private.")
    ] = False,
) -> None:
    """Serve a model by the OpenAI protocol, personalized by users' stored writings."""
    from flythinker.generation.backends.protocol import Engine
    from flythinker.serving.learning.start import make_learner
    from flythinker.serving.ops.logs import log_as_json
    from flythinker.serving.run import (
        endpoint,
        local_engine,
        model_name,
        remote_engine,
        run_server,
        vllm_engine,
        what_learns,
    )
    from flythinker.serving.settings import ServerSettings
    from flythinker.serving.storage.store import Store

    if remote and engine == "vllm":
        raise typer.BadParameter("--engine vllm starts a vLLM of its own: leave --remote out")
    if vllm_args and engine != "vllm":
        raise typer.BadParameter("--vllm-args are for --engine vllm")
    if quantization and (engine == "vllm" or remote):
        raise typer.BadParameter("--quantization is for what this process writes with")
    if adapt_after and (remote or quantization):
        raise typer.BadParameter(
            "--adapt-after needs --engine local, without --quantization, or --engine vllm: nothing "
            "else writes with what was learned"
        )
    store = Store.open(database)
    keys = _keys_required(host, store.has_keys())
    if user_header and not keys:
        raise typer.BadParameter(
            "without keys anybody could be anybody: make a key for the front end with "
            "`flythinker keys create`",
            param_hint="--user-header",
        )
    for origin in allow_origin or []:
        _check_origin(origin, keys)
    settings = ServerSettings(
        host=host,
        require_keys=keys,
        max_body_bytes=max_body_bytes,
        max_document_chars=max_document_chars,
        max_documents_per_user=max_documents_per_user,
        requests_per_minute=requests_per_minute,
        max_concurrent_requests=max_concurrent_requests,
        model_name=name or model_name(model),
        user_header=user_header,
        log_texts=log_texts,
        allow_origins=tuple(allow_origin or ()),
    )
    log_as_json(log_texts)
    opened: AbstractContextManager[Engine]
    numbers = 0
    if engine == "vllm":
        base, numbers = what_learns(model) if adapt_after else (None, 0)
        opened = vllm_engine(model, dtype, slots, vllm_args, settings, base)
    elif remote:
        opened = nullcontext(remote_engine(model, endpoint(remote), settings))
    else:
        local, numbers = local_engine(
            model, dtype, slots, prefix_mib * MiB, max_queue, quantization
        )
        opened = nullcontext(local)
    with opened as writing:
        learner = make_learner(model, numbers, writing, store, database, adapt_after)
        run_server(settings, store, writing, port, drain_seconds, learner)


def _keys_required(host: str, exist: bool) -> bool:
    """Whether requests need a key: as soon as one exists, and it must where others can connect."""
    from flythinker.serving.run import is_loopback

    if not exist and not is_loopback(host):
        raise typer.BadParameter(
            f"{host} can be reached from outside, but there is no API key: make one with "
            "`flythinker keys create`, or bind to 127.0.0.1",
            param_hint="--host",
        )
    return exist


def _check_origin(origin: str, keys: bool) -> None:
    """Refuse what no browser sends as an origin, and everybody where nothing else is asked for."""
    if origin == "*":
        if not keys:
            raise typer.BadParameter(
                "without keys every page that you visit could read your users' writings: name the "
                "origins, or make a key with `flythinker keys create`",
                param_hint="--allow-origin",
            )
    elif not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s*]+", origin):
        raise typer.BadParameter(
            f"{origin!r} is no origin: scheme://host[:port], nothing after it",
            param_hint="--allow-origin",
        )
