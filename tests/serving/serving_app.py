"""Real servers on loopback ports, with a tiny model, for the tests of this folder."""

import copy
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import openai
import uvicorn

from flythinker.generation.backends.local import LocalEngine
from flythinker.generation.backends.protocol import Engine
from flythinker.generation.writer import Writer
from flythinker.model_folder import PersonalModel
from flythinker.serving.app import create_app
from flythinker.serving.settings import ServerSettings
from flythinker.serving.storage.store import Store

SETTINGS = ServerSettings(
    host="127.0.0.1",
    require_keys=False,
    max_body_bytes=2**20,
    max_document_chars=100_000,
    max_documents_per_user=100,
    requests_per_minute=0,
    max_concurrent_requests=64,
    model_name="tiny",
)


def make_engine(personal: PersonalModel, slots: int = 2, max_queue: int = 32) -> LocalEngine:
    """An engine with a copy of the model, which its Writer takes over."""
    own = replace(personal, model=copy.deepcopy(personal.model))
    return LocalEngine(Writer(own, slots), max_queue)


@contextmanager
def serve(engine: Engine, store: Store, settings: ServerSettings = SETTINGS) -> Iterator[str]:
    """The URL of a server in a thread, which is shut down at the end."""
    app = create_app(settings, store, engine)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)


@contextmanager
def serve_command(
    folder: Path,
    model: Path | str,
    database: str,
    *options: object,
    seconds: float = 60,
    before: Callable[[], None] | None = None,
) -> Iterator[tuple[str, BaseProcess]]:
    """`flythinker serve` in a process of its own, with its URL; killed if it is there at the end.

    It must be up in `seconds`. Its logs go to the file `log` in `folder`. It is forked from one
    that has imported everything; `before` is called in it first.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["flythinker.serving.app", "flythinker.generation.writer"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["--model", model, "--database", database, "--name", "tiny", "--port", port]
    process = processes.Process(
        target=_run_command, args=(folder / "log", [*map(str, [*arguments, *options])], before)
    )
    process.start()
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + seconds
        while not _is_up(url):
            assert process.is_alive(), (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield url, process
    finally:
        process.kill()
        process.join()


def _run_command(log: Path, arguments: list[str], before: Callable[[], None] | None) -> None:
    from flythinker.cli.serve import app

    if before is not None:
        before()
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    app(arguments)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False
