"""What long commands say on standard error: lines in a log, bars in a terminal."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import yaml

from command import ENVIRONMENT, flythinker
from flythinker import progress


def hurry() -> None:
    """Print lines as often as a test has time for, and as some CIs want their output."""
    progress.FIRST_LINE, progress.BETWEEN_LINES = 0.01, 0.05
    os.environ |= {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}


# the same in a process that is not forked
HURRIED = (
    "from flythinker import progress; progress.FIRST_LINE, progress.BETWEEN_LINES = 0.01, 0.05; "
    "from flythinker.cli.main import main; main()"
)
COMMAND = [sys.executable, "-c", HURRIED]
TERMINAL = ENVIRONMENT | {"TERM": "xterm-256color"}
PACE = r"[\d.e-]+ s/{unit}  \d+ s left"


def in_log(*arguments: object) -> list[str]:
    """The lines that a command writes to a log."""
    done = flythinker(*arguments, before=hurry)
    assert done.returncode == 0, done.stderr
    return lines_of(done.stderr)


def lines_of(log: str) -> list[str]:
    assert not re.search(r"[\r\x1b]", log), log
    return log.splitlines()


def in_terminal(*arguments: object) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    command = [*COMMAND, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=theirs, stdin=theirs, env=TERMINAL
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown.decode()
    return shown.decode()


def some(pattern: str, lines: list[str]) -> list[str]:
    """The lines that match as a whole; there is one at least."""
    found = [line for line in lines if re.fullmatch(pattern, line)]
    assert found, "\n".join(lines)
    return found


@pytest.fixture
def many_steps(config_file: Path) -> Path:
    """A training of 120 steps on the tiny backbone, evaluated twice."""
    sections = yaml.safe_load(config_file.read_text())
    del sections["training"]["disable_tqdm"]
    sections["training"] |= {"max_steps": 120, "eval_strategy": "steps", "eval_steps": 60}
    sections["training"] |= {"per_device_eval_batch_size": 1, "save_steps": 60}
    sections["training"] |= {"save_strategy": "steps"}
    config_file.write_text(yaml.safe_dump(sections))
    return config_file


def test_training(many_steps: Path, tmp_path: Path) -> None:
    lines = in_log("train", many_steps)
    pace = PACE.format(unit="step")
    steps = some(rf"train  \d+/120  loss \d\.\d{{3}}  {pace}", lines)
    numbers = [int(re.findall(r"\d+", line)[0]) for line in steps]
    assert numbers == sorted(numbers)
    some(rf"train  \d+/120  loss \d\.\d{{3}}  held-out \d\.\d{{3}}  {pace}", lines)
    assert not [line for line in lines if "Failed to load" in line]  # what libraries say of kernels
    some(r"evaluation  10/10  done in \d+ s", lines)
    some(r"train  120/120  loss \d\.\d{3}  held-out \d\.\d{3}  done in \d+ s", lines)

    (tmp_path / "run" / "model").rename(tmp_path / "finished")
    for checkpoint in (tmp_path / "run").glob("checkpoint-120"):
        checkpoint.rename(tmp_path / checkpoint.name)
    resumed = some(rf"train  \d+/120  .*{pace}", in_log("train", many_steps))
    assert all(int(re.findall(r"\d+", line)[0]) >= 60 for line in resumed)


def test_training_in_a_terminal(many_steps: Path) -> None:
    shown = in_terminal("train", many_steps, "--set", "training.max_steps=20")
    assert re.search(r"20/20 \[", shown)  # of transformers' bar
    assert "\r" in shown
    assert "Making prompts" in shown
    assert "━" in shown  # of ours
    assert "train  " not in shown
    assert "done in" not in shown


@pytest.mark.slow
def test_training_in_two_processes(many_steps: Path, tmp_path: Path) -> None:
    program = tmp_path / "hurried.py"
    program.write_text(HURRIED)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launcher, str(program), "train", str(many_steps)]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = lines_of(done.stderr.decode())
    assert len(some(r"train  120/120  .*done in \d+ s", lines)) == 1
    numbers = [int(re.findall(r"\d+", line)[0]) for line in some(r"train  .* left", lines)]
    assert numbers == sorted(numbers)


def test_generation_and_evaluation(trained: Path, data: Path, tmp_path: Path) -> None:
    file, out = data / "val.jsonl", tmp_path / "out.jsonl"
    options = ["--batch-size", 1, "--max-new-tokens", 60]
    generate = ["generate", file, "--model", trained, *options]
    lines = in_log(*generate, "--out", out)
    some(rf"Writing  \d+/10  {PACE.format(unit='text')}", lines)
    some(r"Writing  10/10  done in \d+ s", lines)

    evaluate = ["evaluate", file, "--model", f"fly={trained}", "--outputs", f"texts={out}"]
    lines = in_log(*evaluate, "--batch-size", 1, "--report", tmp_path / "report.html")
    some(r"Held-out loss of fly  10/10  done in \d+ s", lines)
    some(r"Scoring texts  2/2  done in \d+ s", lines)


@pytest.mark.slow
def test_comparison(comparison: Path) -> None:
    lines = in_log("compare", comparison)
    assert "1 of 2: Non-pers, seed 1" in lines
    some(r"\[1 of 2: Non-pers, seed 1\]  Writing with Non-pers  \d+/10  .*", lines)
    some(r"\[2 of 2: SFT, seed 1\]  train  40/40  loss .*  done in \d+ s", lines)


@pytest.fixture
def comparison(config_file: Path, data: Path, tmp_path: Path) -> Path:
    sections = yaml.safe_load(config_file.read_text())
    sections["training"] |= {"output_dir": str(tmp_path / "work"), "max_steps": 40}
    sections["compare"] = {
        "test": str(data / "val.jsonl"),
        "results": str(tmp_path / "results"),
        "response_tokens": 60,
        "measure": ["loss", "texts"],
        "methods": {"nonpers": None, "sft": None},
    }
    config_file.write_text(yaml.safe_dump(sections, sort_keys=False))
    return config_file


@pytest.mark.slow
def test_data_building(tmp_path: Path) -> None:
    lines = in_log("data", "build", "sotu", "--limit", 50, "--out", tmp_path)
    some(r"Cutting texts  \d+/43  [\d.]+ s each  \d+ s left", lines)
    some(r"Writing train\.jsonl  50/50  done in \d+ s", lines)
