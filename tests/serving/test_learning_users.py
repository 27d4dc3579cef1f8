"""Users are learned beside the server's work: what is told, kept, killed, paused and forgotten."""

import base64
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import torch
from serving_app import make_engine, serve_command
from typer.testing import CliRunner

from flythinker.adapter import parse_adapter
from flythinker.cli.main import app
from flythinker.data.example import Document, read_documents
from flythinker.data.prompt import PromptConfig
from flythinker.errors import FlyThinkerError
from flythinker.model_folder import load_tokenizer, save_model_folder
from flythinker.serving.learning import process, start
from flythinker.serving.learning.start import make_learner
from flythinker.training.build import build_model
from flythinker.training.config import ModelSection
from person import written

ANN = "/v1/users/ann"
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Write."}], "user": "ann"}
GREEDY = CHAT | {"temperature": 0, "max_tokens": 24}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, backbone) -> Path:
    """A random FlyThinker model with room for a text that takes seconds."""
    torch.manual_seed(0)
    roomy = shutil.copytree(backbone, tmp_path_factory.mktemp("parts") / "roomy")
    config = json.loads((roomy / "config.json").read_text())
    (roomy / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}))
    sizes = ModelSection(str(roomy), str(roomy), reasoner_layers=1, projection="linear")
    model = build_model(sizes, None).eval()
    made = tmp_path_factory.mktemp("model")
    prompt = PromptConfig(k=2, profile_tokens=60, query_tokens=40, response_tokens=120)
    save_model_folder(made, model, load_tokenizer(str(backbone)), prompt, {})
    return made


@pytest.fixture
def run(folder, tmp_path):
    """`run()`: a server that learns from 1,000 words on, its URL and its process."""
    database = f"sqlite:///{tmp_path}/store.db"
    options = ("--adapt-after", 1000, "--requests-per-minute", 0)
    return partial(serve_command, tmp_path, folder, database, *options, before=hurry)


def hurry() -> None:
    """Beside other tests, with the lowest priority, learning would take minutes."""
    process.NICE = 1


def add(url: str, documents: Sequence[Document], user: str = "ann") -> None:
    body = {"documents": [asdict(document) for document in documents]}
    assert httpx.post(f"{url}/v1/users/{user}/documents", json=body, timeout=60).status_code == 200


def ask(url: str) -> httpx.Response:
    return httpx.get(url, timeout=60)


def known(url: str, user: str = "ann") -> dict[str, Any] | None:
    answer = ask(f"{url}/v1/users/{user}/adapter")
    assert answer.status_code in (200, 404)
    return answer.json() if answer.status_code == 200 else None


def until(told: Callable[[], Any], seconds: float = 300) -> Any:
    """What `told` says as soon as it is something."""
    deadline = time.monotonic() + seconds
    while not (found := told()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def is_learned(url: str, user: str = "ann") -> dict[str, Any] | None:
    found = known(url, user)
    return found if found and found["learned"] and found["status"] == "idle" else None


def is_learning(url: str, user: str = "ann") -> bool:
    return (known(url, user) or {}).get("status") == "learning"


def write(url: str, **more: Any) -> str:
    answer = httpx.post(f"{url}/v1/chat/completions", json=GREEDY | more, timeout=60)
    return answer.json()["choices"][0]["message"]["content"]


def learner_of(server: Any) -> psutil.Process:
    """The process that learns."""
    return until(lambda: psutil.Process(server.pid).children())[0]


@contextmanager
def endless_text(url: str) -> Iterator[Iterator[str]]:
    asked = CHAT | {"temperature": 0, "max_tokens": 8000, "stream": True, "user": "bob"}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=asked, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        yield lines


def test_a_user_is_learned_written_with_and_forgotten(run, tmp_path):
    with run() as (url, _):
        assert known(url) is None
        add(url, written(9))
        add(url, written(9), "bob")
        assert known(url) is None
        add(url, written(30)[9:])
        before = write(url)
        plain = write(url, personalize=False)
        statuses = {"idle"}

        def done() -> dict[str, Any] | None:
            statuses.add((known(url) or {}).get("status", "idle"))
            return is_learned(url)

        found = until(done)
        assert "learning" in statuses
        learned = found["learned"]
        assert (learned["texts"], learned["gain"]["passages"]) == (24, 6)
        assert learned["words"] > 2000
        assert learned["gain"]["low"] < learned["gain"]["gain"] < learned["gain"]["high"] < 0
        assert found["last_try"]["kept"]
        assert found["last_try"]["gain"] == learned["gain"]
        metrics = ask(f"{url}/metrics").text
        assert "\nflythinker_adapters 1.0" in metrics
        assert "\nflythinker_users_to_learn 0.0" in metrics

        export = ask(f"{url}{ANN}/export").text
        *texts, last = map(json.loads, export.splitlines())
        adapter = parse_adapter(base64.b64decode(last["safetensors"]), "export")
        assert asdict(adapter.about) == last["adapter"]
        (tmp_path / "ann.jsonl").write_text(export)
        assert len(read_documents(tmp_path / "ann.jsonl")) == len(texts) == 30

        assert write(url) != before
        assert write(url, personalize=False) == plain
        assert httpx.delete(f"{url}{ANN}/adapter", timeout=60).json()["deleted"]
        assert known(url) is None
        again = httpx.delete(f"{url}{ANN}/adapter", timeout=60)
        assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")
        assert write(url) == before
        time.sleep(6)  # longer than between two looks
        assert known(url) is None
        add(url, written(45)[30:])  # new words
        assert until(lambda: is_learned(url))["learned"]["texts"] == 36
        assert known(url, "bob") is None
        assert httpx.delete(f"{url}{ANN}/documents", timeout=60).json()["deleted"]
        assert known(url) is None
        assert "adapter" not in ask(f"{url}/v1/users/bob/export").text
    log = (tmp_path / "log").read_text()
    assert '"error"' not in log
    assert "harbour" not in log
    assert not list((tmp_path / "store.db.learning").glob("*-*"))


@pytest.mark.slow
@pytest.mark.parametrize("paused", [True, False])
def test_a_server_killed_while_it_learns_goes_on_where_it_was(run, tmp_path, paused):
    def checkpoints() -> list[Path]:
        return list((tmp_path / "store.db.learning").glob("*/work/checkpoint-*"))

    with run() as (url, server):
        add(url, written(100))
        until(checkpoints)
        child = learner_of(server)
        if paused:
            with endless_text(url):
                until(lambda: child.status() == psutil.STATUS_STOPPED)
                server.kill()
        else:
            server.kill()
        server.join()
        child.wait(20)  # it does not outlive the server
    ends = max(int(path.name.split("-")[1]) for path in checkpoints())
    with run() as (url, _):
        assert known(url) is None
        steps = set()

        def learned() -> dict[str, Any] | None:
            steps.update(int(path.name.split("-")[1]) for path in checkpoints())
            return is_learned(url)

        assert until(learned)["learned"]["texts"] == 80
    assert min(steps) >= ends  # it was never learned from the beginning again
    assert max(steps) > ends


@pytest.mark.slow
def test_it_learns_with_a_low_priority_and_only_while_nothing_is_written(run):
    assert process.NICE == 19
    with run() as (url, server):
        add(url, written(60))
        until(lambda: is_learning(url))
        child = learner_of(server)
        until(lambda: child.nice() == psutil.Process(server.pid).nice() + 1)
        assert child.environ()["OMP_NUM_THREADS"] == "1"
        with endless_text(url) as lines:
            until(lambda: child.status() == psutil.STATUS_STOPPED, seconds=5)
            used = child.cpu_times()
            begun = time.monotonic()
            for _ in lines:
                if time.monotonic() > begun + 3:
                    break
            assert child.status() == psutil.STATUS_STOPPED
            assert child.cpu_times() == used
        assert is_learning(url)
        assert until(lambda: is_learned(url))["learned"]["texts"] == 48


def test_what_is_forgotten_while_it_is_learned_is_gone(run, tmp_path):
    with run() as (url, server):
        for user, path in (("ann", "documents"), ("bob", "adapter"), ("cy", "documents/{first}")):
            add(url, written(30), user)
            until(lambda: is_learning(url, user))  # noqa: B023
            child = learner_of(server)
            first = ask(f"{url}/v1/users/{user}/documents").json()["data"][0]["id"]
            gone = f"{url}/v1/users/{user}/{path.format(first=first)}"
            assert httpx.delete(gone, timeout=60).json()["deleted"]
            assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
            if user != "cy":
                assert known(url, user) is None
                assert not list((tmp_path / "store.db.learning").glob("*-*"))
        # of the third the other texts are learned
        assert until(lambda: is_learned(url, "cy"))["learned"]["texts"] == 23
        assert known(url) is None
        assert known(url, "bob") is None


@pytest.mark.slow
def test_that_nothing_was_learned_is_told_and_why(run):
    with run() as (url, _):
        add(url, written(30))
        kept = until(lambda: is_learned(url))["learned"]
        # the newest fifth, of letters of which the earlier ones have none
        strange = ["".join(letters) for letters in itertools.permutations("ďęģħı", 3)]
        add(url, written(8, strange, year=2025, sentences=15))
        tried = until(lambda: (found := known(url))["version"] > 1 and found)
        assert "the newest passages" in tried["last_try"]["why"]
        assert tried["last_try"]["gain"]["high"] >= 0
        assert tried["learned"] == kept  # the older one stays
        add(url, [Document("word " * 1200)], "bob")
        found = until(lambda: (found := known(url, "bob")) and found["last_try"] and found)
        assert found["learned"] is None
        assert "too little to learn from" in found["last_try"]["why"]
        assert found["last_try"]["gain"] is None


@pytest.mark.parametrize("options", [("--remote", "http://x/v1"), ("--quantization", "int8")])
def test_what_does_not_write_with_adapters_does_not_learn(options, folder):
    given = ["serve", "--model", str(folder), "--adapt-after", "1000", *options]
    done = CliRunner().invoke(app, given, env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "--adapt-after" in done.output


def test_a_model_without_a_reasoner_is_refused_and_without_memory_nothing_is_learned(
    personal, sqlite, tmp_path, monkeypatch, caplog
):
    database = f"sqlite:///{tmp_path}/page.db"
    engine = make_engine(personal)
    left = tmp_path / "page.db.learning" / "1-2-3"
    left.mkdir(parents=True)
    monkeypatch.setattr(start, "free_memory", lambda: 10**9)
    assert make_learner("m", 10**6, engine, sqlite, database, 1000) is None
    assert "--adapt-after is off: learning takes a second copy" in caplog.text
    assert not left.exists()
    monkeypatch.setattr(start, "free_memory", lambda: 2 * 10**9)
    assert make_learner("m", 10**6, engine, sqlite, database, None) is None
    assert make_learner("m", 10**6, engine, sqlite, database, 1000) is not None
    engine.adapter_base = None
    with pytest.raises(FlyThinkerError, match="no Reasoner to learn with"):
        make_learner("m", 10**6, engine, sqlite, database, 1000)
