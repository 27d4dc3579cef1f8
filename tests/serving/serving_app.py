"""A real server on a loopback port, with a tiny model, for the tests of this folder."""

import copy
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import openai
import uvicorn

from flythinker.decoding.writer import Writer
from flythinker.model_folder import PersonalModel
from flythinker.serving.app import create_app
from flythinker.serving.engine import Engine
from flythinker.serving.local_engine import LocalEngine
from flythinker.serving.settings import ServerSettings
from flythinker.serving.store import Store

SETTINGS = ServerSettings(
    host="127.0.0.1",
    port=0,
    database_url="sqlite://",
    require_keys=False,
    max_body_bytes=2**20,
    max_document_chars=100_000,
    max_documents_per_user=100,
    requests_per_minute=0,
    max_concurrent_requests=64,
    max_queue=4,
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
