"""A server killed while documents are written loses none that it acknowledged, and halves none."""

import json
import random
import signal
import threading
import time
from collections import Counter

import httpx
import pytest
from serving_app import serve_command

UNLIMITED = ("--requests-per-minute", 0, "--max-documents-per-user", 10**6)
WRITERS = 3
PARTS = 5  # documents of one request


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


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_what_was_acknowledged_is_there_and_nothing_is_half_there(
    backbone, database, tmp_path, kills
):
    acknowledged: list[str] = []
    random.seed(kills)
    for kill in range(kills):
        with serve_command(tmp_path, backbone, database, *UNLIMITED) as (url, process):
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
        assert process.exitcode == -signal.SIGKILL
        for writer in writers:
            writer.join()
    with serve_command(tmp_path, backbone, database) as (url, _):
        lines = httpx.get(f"{url}/v1/users/ann/export", timeout=60).text.splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    stored = Counter(text.split()[0] for text in texts)
    assert set(acknowledged) <= set(stored)
    assert set(stored.values()) == {PARTS}
    assert set(texts) == {one["text"] for name in stored for one in batch(name)}
