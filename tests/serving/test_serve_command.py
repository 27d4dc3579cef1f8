"""The server as a process: how it starts, refuses to start, and ends."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

COMMAND = [sys.executable, "-c", "from flythinker.serving.cli import app; app()"]
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture
def arguments(backbone, tmp_path) -> list[str]:
    database = f"sqlite:///{tmp_path}/store.db"
    return [*COMMAND, "--model", str(backbone), "--database", database, "--name", "tiny"]


def test_a_public_address_without_keys_is_refused(arguments):
    done = subprocess.run(
        [*arguments, "--host", "0.0.0.0"], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 2
    assert "keys create" in done.stderr


def test_sigterm_lets_a_running_stream_finish_and_logs_no_text(arguments):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [*arguments, "--port", str(port)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(f"{url}/ready").status_code == 200
                break
            except httpx.ConnectError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        body = {"model": "tiny", "prompt": "zanzibar", "max_tokens": 200, "stream": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            server.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert "choices" in first
        assert rest[-1] == "data: [DONE]"
        assert "finish_reason" in rest[-2]
        assert "error" not in rest[-2]
        _, logs = server.communicate(timeout=20)
        assert '"route": "/v1/completions", "status": 200' in logs
        assert "zanzibar" not in logs
    finally:
        server.kill()
