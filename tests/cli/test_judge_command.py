import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from command import COMMAND, ENVIRONMENT, fail, succeed
from flythinker.data.example import read_examples, sample_examples
from judge_server import Reply, prefer, serve_judge


@pytest.fixture
def judge(data: Path, tmp_path: Path) -> list[object]:
    """The command that judges `good` against `plain` on ten examples, but for the endpoint."""
    command: list[object] = ["judge", data / "val.jsonl", "--out", tmp_path / "verdicts.jsonl"]
    examples = sample_examples(read_examples(data / "val.jsonl"), None)
    for name, text in (("plain", "as everybody writes"), ("good", "with salt")):
        with (tmp_path / name).open("w") as file:
            for example in examples:
                about = {"user_id": example.user_id, "query": example.query}
                file.write(json.dumps(about | {"output": text}) + "\n")
        command += ["--outputs", f"{name}={tmp_path / name}"]
    return command


def test_a_killed_run_resumes(judge: list[object], tmp_path: Path) -> None:
    killed = threading.Event()

    def reply(request: dict[str, Any]) -> Reply:
        if len(server.requests) > 7:
            killed.wait(60)
        return prefer("salt")(request)

    with serve_judge() as server:
        server.reply = reply
        command = [*judge, "--base-url", server.url, "--model", "tiny"]
        process = subprocess.Popen(
            [*COMMAND, *map(str, command)], env=ENVIRONMENT, stderr=subprocess.DEVNULL
        )
        partial = tmp_path / "verdicts.jsonl.partial"
        while process.poll() is None and not (
            partial.exists() and partial.read_text().count("\n") == 8
        ):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed.set()

        server.requests.clear()
        shown = json.loads(succeed(*command, "--json"))
        assert len(server.requests) == 20 - 7
    (row,) = shown["rows"]
    assert (row["name"], row["baseline"], row["wins"], row["missing"]) == ("good", "plain", 10, 0)
    assert shown["model"] == "tiny"
    assert not partial.exists()


def test_a_dry_run_contacts_nobody(judge: list[object], tmp_path: Path) -> None:
    with serve_judge() as server:
        shown = succeed(*judge, "--base-url", server.url, "--dry-run")
    assert server.requests == []
    assert shown.count('where "closer" is') == 2  # both orders
    first, second = shown.split("Answer with one JSON object")[:2]
    assert first.index("with salt") < first.index("as everybody writes")
    assert second.index("as everybody writes") < second.index("with salt")
    assert "20 calls, about" in shown
    assert not (tmp_path / "verdicts.jsonl").exists()


def test_wrong_use_exits_with_2(judge: list[object]) -> None:
    assert "--baseline" in fail(*judge, "--baseline", "unknown", code=2)
