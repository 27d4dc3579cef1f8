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

START = "from flythinker.cli.main import main; main()"

_DATABASE = "bench.db"


@dataclass(frozen=True)
class ServeSetting:
    """What is measured: the model, how many clients for how long, and what they do.

    `large_user`: documents of a user who is compared with one of ten; 0: nobody is.
    `persons`: clients who have an adapter each, compared with nobody having one; 0: they are not.
    `learning`: whether texts are compared while somebody is being learned and while nobody is.
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
    persons: int = 0
    learning: bool = False


@dataclass(frozen=True)
class Served:
    """A server that runs: where it answers, its process, and the folder of its database."""

    url: str
    process: psutil.Process
    folder: Path

    @property
    def database(self) -> str:
        """Its URL."""
        return f"sqlite:///{self.folder}/{_DATABASE}"

    @property
    def learns(self) -> bool:
        """Whether somebody is being learned, beyond the start of the process that does it."""
        return any(self.folder.glob(f"{_DATABASE}.learning/*/work/settings.json"))

    def seconds(self) -> float:
        """Of the processor, that it has used."""
        return sum(self.process.cpu_times()[:2])

    def learning_seconds(self) -> float:
        """Of the processor, that the process has used that is learning somebody; 0: nobody is."""
        return sum(sum(child.cpu_times()[:2]) for child in self.process.children())


@contextmanager
def server_of(setting: ServeSetting, adapt_after: int | None = None) -> Iterator[Served]:
    """`flythinker serve` on a free port, in float32: there texts do not depend on their company.

    With `adapt_after` users of so many words are learned.
    """
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
            "max-documents-per-user": 10_000 + setting.large_user,  # more than anybody is given
            "database": f"sqlite:///{folder}/{_DATABASE}",
            "port": port,
        }
        if adapt_after is not None:
            options["adapt-after"] = adapt_after
        arguments = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-c", START, "serve"]
        log = Path(folder, "log")
        with log.open("wb") as logs:
            server = subprocess.Popen([*command, *arguments], stderr=logs)
        try:
            served = Served(f"http://127.0.0.1:{port}", psutil.Process(server.pid), Path(folder))
            _wait_for(served.url, server, log)
            yield served
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
