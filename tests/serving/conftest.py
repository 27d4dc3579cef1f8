"""A tiny model to serve, and real databases: SQLite always, PostgreSQL where its programs are."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import open_browser
from playwright.sync_api import Browser
from serving_app import make_engine, serve
from sqlalchemy import create_engine, text

from flythinker.data.example import Document
from flythinker.data.prompt import PromptConfig
from flythinker.generation.backends.local import LocalEngine
from flythinker.model_folder import PersonalModel, load_tokenizer
from flythinker.serving.settings import DEFAULT_TENANT
from flythinker.serving.storage.store import Store
from flythinker.training.build import build_model
from flythinker.training.config import ModelSection


@pytest.fixture
def personal(configure) -> PersonalModel:
    """A random FlyThinker model with the tiny tokenizer."""
    config = configure("model.projection=pad")
    tokenizer = load_tokenizer(config.model.generator)
    return PersonalModel(build_model(config.model, None).eval(), tokenizer, config.prompt, {})


@pytest.fixture(scope="module")
def tiny(backbone) -> PersonalModel:
    """As `personal`, for all tests of a file."""
    section = ModelSection(str(backbone), str(backbone), reasoner_layers=1)
    prompt = PromptConfig(k=2, profile_tokens=60, query_tokens=40, response_tokens=120)
    model = build_model(section, None).eval()
    return PersonalModel(model, load_tokenizer(str(backbone)), prompt, {})


@pytest.fixture(scope="module")
def url(tiny, tmp_path_factory) -> Iterator[str]:
    """A server with it, where "ann" has writings."""
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db")
    store.add(DEFAULT_TENANT, "ann", [Document("We went to Zanzibar.")], 10)
    with serve(make_engine(tiny), store) as url:
        yield url
    store.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """A PostgreSQL server; each call empties its database and gives the URL."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # Debian's place
    initdb = shutil.which(
        "initdb", path=os.pathsep.join([*map(str, installed), os.environ["PATH"]])
    )
    if initdb is None:
        pytest.skip("PostgreSQL is not installed")
    programs = Path(initdb).parent
    folder = Path(tempfile.mkdtemp(prefix="flythinker-postgres-"))
    owner = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        owner = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *arguments: str) -> None:
        command = [*owner, str(programs / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    run("initdb", "-U", "flythinker", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
    options = f"-k {folder} -c listen_addresses="  # a socket in a folder, no port
    run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    url = f"postgresql://flythinker@/postgres?host={folder}"
    admin = create_engine(url.replace(":", "+psycopg:", 1))

    def fresh() -> str:
        with admin.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        return url

    yield fresh
    admin.dispose()
    run("pg_ctl", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return request.getfixturevalue("postgres")()


@pytest.fixture
def store(database) -> Iterator[Store]:
    opened = Store.open(database)
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path) -> Iterator[Store]:
    """An empty store."""
    opened = Store.open(f"sqlite:///{tmp_path}/page.db")
    yield opened
    opened.close()


@pytest.fixture
def engine(personal) -> LocalEngine:
    """An engine with room for two texts and what their thoughts do."""
    return make_engine(personal, slots=4)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a file.

    No longer: Playwright keeps an event loop running, in which other tests cannot start theirs.
    """
    with open_browser() as browser:
        yield browser
