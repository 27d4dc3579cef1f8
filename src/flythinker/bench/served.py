"""A server of its own for a measurement: `flythinker serve` on a free port."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil

from flythinker.bench.asking import NAME
from flythinker.errors import FlyThinkerError


@dataclass(frozen=True)
class ServeSetting:
    """What is measured: the model, how many clients for how long, and what they do.

    `large_user`: documents of a user who is compared with one of ten; 0: nobody is.
    """

    model: str
    data: Path
    clients: int = 32
    seconds: float = 120
    requests: int = 12
    leaving: float = 0.10
    bad: float = 0.05
    slots: int = 8
    prefix_mib: int = 256
    seed: int = 0
    large_user: int = 0


@contextmanager
def server_of(setting: ServeSetting) -> Iterator[tuple[str, psutil.Process]]:
    """`flythinker serve` on a free port, in float32: there texts do not depend on their company."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "model": setting.model,
            "name": NAME,
            "dtype": "float32",
            "slots": setting.slots,
            "max-queue": setting.clients,
            "prefix-mib": setting.prefix_mib,
            "requests-per-minute": 0,
            "database": f"sqlite:///{folder}/bench.db",
            "port": port,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-c", "from flythinker.cli.main import main; main()", "serve"]
        log = Path(folder, "log")
        with log.open("wb") as logs:
            server = subprocess.Popen([*command, *arguments], stderr=logs)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, server, log)
            yield url, psutil.Process(server.pid)
        finally:
            server.terminate()
            server.wait()


def _wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    while True:
        try:
            client.models.list()
            return
        except openai.APIConnectionError:
            if server.poll() is not None:
                raise FlyThinkerError(f"the server did not start: {log.read_text()}") from None
            time.sleep(0.1)
