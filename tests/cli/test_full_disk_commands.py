"""Commands on a full disk: one line that names the file, before the work where that is possible."""

import json
import os
import shutil

import pytest

from command import fail, flythinker, succeed
from flythinker.data.example import read_examples
from flythinker.data.prompt import build_prompt
from flythinker.disk import DiskFull
from flythinker.files import atomic_folder, atomic_write
from flythinker.generation.files import generate_file, read_outputs
from flythinker.generation.sampling import Sampling
from flythinker.model_folder import load_model_folder
from small_disk import fill


def test_data_build_says_what_it_needs(disk, tmp_path):
    folder = disk(4)
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(12):
        (texts / f"{number}.txt").write_text(f"{number}: " + "It was a long day at sea. " * 800)
    command = ("data", "build", "folder", "--path", texts, "--out", folder / "mine")
    filling = fill(folder, leave=50_000)
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


def test_the_backbone_is_not_converted_into_a_full_cache(disk, tmp_path, monkeypatch):
    folder = disk(4)
    monkeypatch.setitem(os.environ, "FLYTHINKER_CACHE", str(folder))
    import command

    monkeypatch.setitem(command.ENVIRONMENT, "FLYTHINKER_CACHE", str(folder))
    text = tmp_path / "a.txt"
    text.write_text("It was a long day at sea.")
    line = fail("write", "--model", "smollm2-135m", "--history", text, "--query", "Go.")
    assert f"{folder}/smollm2-135m: needs at least 541.6 MB" in line
    assert "set FLYTHINKER_CACHE" in line
    assert os.listdir(folder) == []


@pytest.mark.parametrize("write", ["text", "safetensors", "torch", "parquet"])
def test_what_any_library_writes_is_named(disk, write):
    """None of them says which file it was; torch does not even say that the disk is full."""
    import pyarrow
    import pyarrow.parquet
    import torch
    from safetensors.torch import save_file

    folder = disk(1)
    path = folder / "target"
    tensors = {"weights": torch.randn(500_000)}
    with pytest.raises(DiskFull, match=f"^{path}: no room for it, its disk is full: make room"):
        match write:
            case "text":
                with atomic_write(path) as file:
                    file.write("x" * 2_000_000)
            case "parquet":
                table = pyarrow.table({"weights": tensors["weights"].numpy()})
                with atomic_write(path, binary=True) as file:
                    pyarrow.parquet.write_table(table, file)
            case "safetensors":
                with atomic_folder(path) as partial:
                    save_file(tensors, partial / "model.safetensors")
            case "torch":
                with atomic_folder(path) as partial:
                    torch.save(tensors, partial / "optimizer.pt")
    assert os.listdir(folder) == []


def test_a_generation_cut_by_a_full_disk_goes_on(trained, data, disk):
    folder = disk(1)
    out = folder / "out.jsonl"
    examples = read_examples(data / "val.jsonl")
    personal = load_model_folder(str(trained))
    prompts = [build_prompt(one, personal.tokenizer, personal.prompt) for one in examples]
    asked = []

    def respond(batch, sampling):
        asked.append(len(batch))
        if len(asked) == 3:
            fill(folder)
        return ["word " * 2000] * len(batch)

    with pytest.raises(DiskFull, match=f"{out}.partial: no room for it"):
        generate_file(prompts, respond, examples, out, Sampling(), batch_size=2)
    kept = len((folder / "out.jsonl.partial").read_text().splitlines()) - 1
    assert kept >= 4
    (folder / "filling").unlink()
    generate_file(prompts, respond, examples, out, Sampling(), batch_size=2)
    assert sum(asked) - kept <= len(examples)
    assert read_outputs(out, examples) == ["word " * 2000] * len(examples)


def test_an_error_that_nobody_named_is_still_one_line(trained, data, disk):
    """The page's folder cannot even be made: no inode is left."""
    folder = disk(4)
    shutil.copy(data / "val.jsonl", folder)
    done = flythinker("data", "stats", folder / "val.jsonl", "--json")
    assert json.loads(done.stdout)
