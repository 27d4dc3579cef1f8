"""A server whose database's disk is full: it says so, goes on writing and reading, and forgets."""

import os
import shutil
import signal
from pathlib import Path

import httpx
import pytest
from serving_app import serve_command
from sqlalchemy import create_engine, text

from command import fail, succeed
from flythinker.serving.storage.reserve import RESERVE_BYTES
from flythinker.serving.storage.store import Store
from small_disk import fill

UNLIMITED = ("--requests-per-minute", 0, "--max-documents-per-user", 10**6)
SECRET = "zanzibar"
ANN, BOB = "/v1/users/ann/documents", "/v1/users/bob/documents"


def writings(*names: object, words: int = 5000, word: str = SECRET) -> dict[str, list]:
    return {"documents": [{"text": f"{name} " + f"{word} " * words} for name in names]}


def add(url: str, path: str, *names: object, **options: object) -> httpx.Response:
    return httpx.post(url + path, json=writings(*names, **options), timeout=60)


def metrics(url: str) -> dict[str, float]:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return {key: float(value) for key, value in (x.split() for x in lines if "_disk_" in x[:30])}


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("store.db*"))


@pytest.fixture
def small(disk):
    """A disk with room for some documents, and a database on it."""
    folder = disk(24)
    return folder, f"sqlite:///{folder}/store.db"


def test_what_a_server_says_and_does_when_the_disk_is_full(backbone, small, tmp_path):
    folder, database = small
    with serve_command(tmp_path, backbone, database) as (url, _):
        assert add(url, ANN, *range(20)).status_code == 200
        (bobs, *_) = add(url, BOB, "first", "second", word="timbuktu").json()["data"]
        assert httpx.get(f"{url}/ready").json() == {"status": "ready", "disk": "ok"}
        filling = fill(folder)

        refused = add(url, ANN, "new")
        assert refused.status_code == 507
        error = refused.json()["error"]
        assert error["code"] == "disk_full"
        assert error["type"] == "server_error"
        assert "disk is full" in error["message"]
        assert str(folder) not in refused.text
        ready = httpx.get(f"{url}/ready")
        assert (ready.status_code, ready.json()["disk"]) == (200, "full")
        assert metrics(url)["flythinker_database_disk_full"] == 1
        assert metrics(url)["flythinker_database_disk_free_bytes"] == 0

        # reading and writing go on
        assert len(httpx.get(f"{url}{ANN}").json()["data"]) == 20
        body = {"model": "tiny", "prompt": "Go.", "user": "ann", "max_tokens": 3}
        assert httpx.post(f"{url}/v1/completions", json=body, timeout=60).status_code == 200

        # so do deleting one document and forgetting somebody, whose texts are gone from the disk
        assert httpx.delete(f"{url}{BOB}/{bobs['id']}").status_code == 200
        assert httpx.delete(f"{url}{ANN}").json()["deleted"]
        assert SECRET.encode() not in on_disk(folder)
        assert b"timbuktu" in on_disk(folder)
        assert httpx.get(f"{url}{ANN}").status_code == 404
        assert (folder / "store.db.reserve").stat().st_size == RESERVE_BYTES

        filling.unlink()
        assert httpx.get(f"{url}/ready").json()["disk"] == "ok"
        assert metrics(url)["flythinker_database_disk_full"] == 0
        assert add(url, ANN, "new").status_code == 200
    assert SECRET not in (tmp_path / "log").read_text()


def test_more_than_the_reserve_can_be_forgotten(backbone, disk, tmp_path):
    folder = disk(64)
    options = (*UNLIMITED, "--max-body-bytes", 2**23)
    with serve_command(tmp_path, backbone, f"sqlite:///{folder}/store.db", *options) as (url, _):
        for part in range(10):
            names = range(40 * part, 40 * part + 40)
            assert add(url, ANN, *names, words=6000).status_code == 200
        assert len(on_disk(folder)) > 3 * RESERVE_BYTES
        fill(folder)
        assert httpx.delete(f"{url}{ANN}", timeout=120).status_code == 200
        assert SECRET.encode() not in on_disk(folder)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_it_starts_on_a_full_disk(backbone, small, tmp_path, end):
    folder, database = small
    with serve_command(tmp_path, backbone, database, "--drain-seconds", 0) as (url, process):
        assert add(url, ANN, "old").status_code == 200
        os.kill(process.pid, end)
        process.join(30)
    filling = fill(folder)
    with serve_command(tmp_path, backbone, database) as (url, _):
        assert httpx.get(f"{url}/ready").json()["disk"] == "full"
        assert add(url, ANN, "new").status_code == 507
        assert len(httpx.get(f"{url}{ANN}").json()["data"]) == 1
        assert httpx.delete(f"{url}{ANN}").status_code == 200
        filling.unlink()
        assert add(url, ANN, "new").status_code == 200


def test_what_was_acknowledged_before_the_disk_was_full_is_there_whole(backbone, small, tmp_path):
    _, database = small
    with serve_command(tmp_path, backbone, database, *UNLIMITED) as (url, _):
        acknowledged = 0
        while (answer := add(url, ANN, *(f"{acknowledged}-{n}" for n in range(5)))).is_success:
            acknowledged += 1
        assert answer.status_code == 507
        assert acknowledged > 3
        (tmp_path / "export").write_text(httpx.get(f"{url}/v1/users/ann/export").text)
    assert len((tmp_path / "export").read_text().splitlines()) == 5 * acknowledged


def test_commands_on_a_full_disk(small, tmp_path):
    folder, database = small
    (tmp_path / "mine.txt").write_text(f"{SECRET} " * 1000)
    key, secret = (store := Store.open(database)).create_key("acme")
    store.close()
    fill(folder)
    arguments = ("--user", "ann", "--database", database)
    line = fail("users", "import", tmp_path / "mine.txt", *arguments)
    assert f"error: {folder}/store.db: the database's disk is full: make room" in line
    succeed("keys", "revoke", key.id, "--database", database)
    store = Store.open(database)
    assert store.tenant_of(secret) is None
    store.close()


@pytest.mark.slow
def test_postgresql(backbone, disk, request, tmp_path):
    """Its tables are on a small disk, its own log is not: that is its owner's to watch."""
    if Path("/proc/self/uid_map").read_text().split()[2] == "1":
        pytest.skip("in a namespace of one user PostgreSQL cannot be another one")
    postgres = request.getfixturevalue("postgres")
    url, folder = postgres(), disk(12)
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    engine = create_engine(url.replace(":", "+psycopg:", 1), isolation_level="AUTOCOMMIT")
    with engine.connect() as admin:
        admin.execute(text(f"CREATE TABLESPACE small LOCATION '{folder}'"))
        admin.execute(text("ALTER DATABASE postgres SET default_tablespace = 'small'"))
    try:
        with serve_command(tmp_path, backbone, url, *UNLIMITED) as (api, _):
            texts = [os.urandom(20_000).hex() for _ in range(400)]
            for one in texts:
                answer = httpx.post(f"{api}{ANN}", json={"documents": [{"text": one}]})
                if not answer.is_success:
                    break
            assert answer.status_code == 507
            assert httpx.get(f"{api}/ready").json()["disk"] == "full"
            assert metrics(api) == {"flythinker_database_disk_full": 1}
            assert httpx.delete(f"{api}{ANN}").status_code == 200
            assert httpx.get(f"{api}{ANN}").status_code == 404
    finally:
        postgres()  # drops what is in the small disk
        with engine.connect() as admin:
            admin.execute(text("ALTER DATABASE postgres RESET default_tablespace"))
            admin.execute(text("DROP TABLESPACE small"))
        engine.dispose()
