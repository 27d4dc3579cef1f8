"""A saved model in a program that never imports FlyThinker: `trust_remote_code=True`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from flythinker import FlyThinkerConfig, train
from tiny import tiny_flythinker

CODE = "flythinker_model.py"
PROMPT = "Gentlemen of the Congress"
PROGRAM = """
import json, sys
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, pipeline

folder, prompt, again = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
written = pipeline("text-generation", folder, trust_remote_code=True, device="cpu")(
    prompt, max_new_tokens=12, do_sample=False, return_full_text=False
)
ids = tokenizer(prompt, return_tensors="pt").input_ids
with torch.no_grad():
    logits = model(ids).logits
model.save_pretrained(again)
print(json.dumps({
    "config": type(config).__name__,
    "text": written[0]["generated_text"],
    "logits": logits[0, -1].tolist(),
}))
"""

WITHOUT_US = """
import sys

class Hidden:
    def find_spec(self, name, *_):
        if name == "flythinker":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from transformers import AutoConfig

AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True)
"""


def apart(tmp_path: Path, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, with a cache of its own."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def carries(folder: Path) -> bool:
    """Whether a folder says what `trust_remote_code` is to run, and has it."""
    mapped = json.loads((folder / "config.json").read_text()).get("auto_map", {})
    named = {name.split(".")[0] + ".py" for name in mapped.values()}
    return mapped.keys() == {"AutoConfig", "AutoModelForCausalLM"} and named == {CODE}


def test_another_program_loads_and_writes_the_same(configure, tmp_path):
    folder = train(configure("training.max_steps=2"))
    done = apart(tmp_path, PROGRAM, folder, PROMPT, tmp_path / "again")
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    text = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert theirs["config"] == "FlyThinkerConfig"
    assert theirs["text"] == tokenizer.decode(text, skip_special_tokens=True)
    with torch.no_grad():
        assert torch.equal(torch.tensor(theirs["logits"]), model(ids).logits[0, -1])
    # and what that program saves is as good, without copies of our source files
    assert carries(tmp_path / "again")
    assert [file.name for file in (tmp_path / "again").glob("*.py")] == [CODE]
    assert (tmp_path / "again" / CODE).read_text() == (folder / CODE).read_text()


def test_without_the_package_one_line_says_how_to_install_it(tmp_path):
    tiny_flythinker().save_pretrained(tmp_path / "model")
    done = apart(tmp_path, WITHOUT_US, tmp_path / "model")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "package is not installed: run `pip install .` in a checkout of FlyThinker" in last
    assert "install flythinker" not in done.stderr  # which may be a stranger's


@pytest.mark.parametrize("lora", [[], ["lora.r=2"]], ids=["full", "lora"])
def test_every_way_of_training_leaves_it(lora, configure):
    saving = ("training.save_strategy=steps", "training.save_steps=1")
    folder = train(configure("training.max_steps=1", *saving, *lora))
    checkpoint = folder.parent / "checkpoint-1"
    for saved in (folder,) if lora else (folder, checkpoint):  # adapters alone are no model
        assert carries(saved)
        assert (saved / CODE).exists()


def test_every_way_of_saving_writes_it(tmp_path):
    model = tiny_flythinker()
    model.config.save_pretrained(tmp_path / "config")
    model.save_pretrained(tmp_path / "model", max_shard_size="10KB")
    for folder in (tmp_path / "config", tmp_path / "model"):
        assert carries(folder)
        assert (folder / CODE).exists()
    model.config.to_json_file(tmp_path / "settings.json")
    assert not (tmp_path / CODE).exists()


def test_loaded_here_it_is_not_run(tmp_path):
    tiny_flythinker().save_pretrained(tmp_path)
    (tmp_path / CODE).write_text("raise RuntimeError('was run')")
    for trusted in (None, False, True):
        model = AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=trusted)
        assert type(model.config) is FlyThinkerConfig
