"""A server killed while documents are written loses none that it acknowledged, and halves none."""

import json
import multiprocessing
import random
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager

import httpx
import pytest

WRITERS = 3
PARTS = 5  # documents of one request


def run_serve(*arguments: str) -> None:
    """`flythinker serve` in a process forked from one that has imported everything."""
    from flythinker.serving.cli import app

    app(list(arguments))


@contextmanager
def serving(model: str, database: str):
    """The real command in a process of its own, killed at the end."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["flythinker.serving.app", "flythinker.decoding.writer"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--model", model, "--database", database, "--port", str(port))
    limits = ("--requests-per-minute", "0", "--max-documents-per-user", "1000000")
    process = processes.Process(target=run_serve, args=(*options, *limits))
    process.start()
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while not is_up(url):
            assert process.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield url
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def batch(name: str) -> list[dict[str, str]]:
    return [{"text": f"{name} {part} " + "word " * 1000 + "end."} for part in range(PARTS)]


def write_until_killed(url: str, name: str, acknowledged: list[str]) -> None:
    """Add batches as fast as they are acknowledged."""
    try:
        with httpx.Client(base_url=url) as api:
            for number in range(10_000):
                body = {"documents": batch(f"{name}-{number}")}
                answer = api.post("/v1/users/ann/documents", json=body)
                assert answer.status_code == 200
                acknowledged.append(f"{name}-{number}")
    except httpx.TransportError:
        pass


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_what_was_acknowledged_is_there_and_nothing_is_half_there(backbone, database, kills):
    acknowledged: list[str] = []
    random.seed(kills)
    for kill in range(kills):
        with serving(str(backbone), database) as url:
            writers = [
                threading.Thread(
                    target=write_until_killed, args=(url, f"{kill}-{writer}", acknowledged)
                )
                for writer in range(WRITERS)
            ]
            before = len(acknowledged)
            for writer in writers:
                writer.start()
            while len(acknowledged) == before:
                time.sleep(0.001)
            time.sleep(random.uniform(0, 0.2))
        for writer in writers:
            writer.join()
    with serving(str(backbone), database) as url:
        lines = httpx.get(f"{url}/v1/users/ann/export", timeout=60).text.splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    stored = Counter(text.split()[0] for text in texts)
    assert set(acknowledged) <= set(stored)
    assert set(stored.values()) == {PARTS}
    assert set(texts) == {one["text"] for name in stored for one in batch(name)}
