import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

import flythinker.model  # noqa: F401  (registers the model with the Auto classes)
from flythinker.errors import FlyThinkerError
from flythinker.training.run import Recipe, last_checkpoint, save_model_folder, train
from flythinker.training.trainer import FlyThinkerTrainer

CHECKPOINTS = ("training.save_strategy=steps", "training.save_steps=8")
# three epochs of ten steps; the second checkpoint is inside the second epoch
DROPOUT = ("lora.r=4", "lora.dropout=0.2")  # a resumed run needs the generators' states as well


def history(model: Path) -> dict:
    return json.loads((model / "training.json").read_text())


def curve(model: Path) -> dict[int, float]:
    """Training loss by step."""
    log = history(model)["log_history"]
    return {entry["step"]: entry["loss"] for entry in log if "loss" in entry}


def assert_same_run(model: Path, other: Path) -> None:
    assert list(curve(model)) == list(range(1, 31))
    assert curve(model) == pytest.approx(curve(other), abs=1e-6)
    first, second = (load_file(folder / "model.safetensors") for folder in (model, other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-6, rtol=0)


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


class Interrupt(TrainerCallback):
    """Ctrl-C after so many steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def full_disk():
    """The kernel refuses to let a file grow beyond 16 KiB, as a full disk would.

    Not a fixture: pytest itself may write to a longer file while a fixture lives.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# resuming


def test_a_killed_run_goes_on_as_if_it_had_not_been(configure, config_file, tmp_path):
    code = (
        "import sys; from flythinker.training.config import load_config; "
        "from flythinker.training.run import train; train(load_config(sys.argv[1], sys.argv[2:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(config_file), *CHECKPOINTS],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    second = tmp_path / "run" / "checkpoint-16" / "trainer_state.json"
    while process.poll() is None and not second.exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (tmp_path / "run" / "model").exists()

    resumed = train(configure(*CHECKPOINTS))
    whole = train(configure(*CHECKPOINTS, f"training.output_dir={tmp_path / 'whole'}"))
    assert_same_run(resumed, whole)


@pytest.mark.parametrize("stop", [12, 21])  # the last checkpoint ends an epoch
def test_an_interrupted_lora_run_goes_on_exactly(configure, tmp_path, stop):
    settings = ("training.save_strategy=steps", "training.save_steps=10", *DROPOUT)

    class InterruptedTrainer(FlyThinkerTrainer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs, callbacks=[Interrupt(stop)])

    with pytest.raises(KeyboardInterrupt):
        train(configure(*settings), recipe=Recipe(trainer=InterruptedTrainer))
    output = tmp_path / "run"
    assert last_checkpoint(output) == output / f"checkpoint-{stop // 10 * 10}"
    assert not (output / "model").exists()
    assert hidden(output) == []

    resumed = train(configure(*settings))
    whole = train(configure(*settings, f"training.output_dir={tmp_path / 'whole'}"))
    assert_same_run(resumed, whole)


def test_half_written_checkpoints_are_ignored_and_removed(tmp_path):
    def checkpoint(step: int, state: str | None) -> Path:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
        return folder

    assert last_checkpoint(tmp_path) is None
    checkpoint(9, json.dumps({"global_step": 9}))
    newest = checkpoint(10, json.dumps({"global_step": 10}))
    broken = [checkpoint(11, None), checkpoint(12, '{"global_step": 12, "log'), checkpoint(13, "")]
    assert last_checkpoint(tmp_path) == newest
    assert not any(folder.exists() for folder in broken)
    shutil.rmtree(newest)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-9"


def test_a_run_is_not_resumed_with_other_settings_unless_restarted(configure, tmp_path):
    one_epoch = ("training.num_train_epochs=1", *CHECKPOINTS)
    model = train(configure(*one_epoch))
    other = configure(*one_epoch, "training.learning_rate=1e-4")
    with pytest.raises(
        FlyThinkerError, match=r"training\.learning_rate: 0\.003 → 0\.0001\)"
    ) as caught:
        train(other)
    assert "\n" not in str(caught.value)
    assert "--restart" in str(caught.value)
    assert history(model)["log_history"][0]["learning_rate"] == pytest.approx(3e-3)

    (tmp_path / "run" / "notes.txt").write_text("mine")
    train(other, restart=True)
    assert history(model)["log_history"][0]["learning_rate"] == pytest.approx(1e-4)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_run_goes_on_after_an_update_of_transformers(configure, tmp_path):
    model = train(configure("training.max_steps=2", *CHECKPOINTS))
    shutil.rmtree(model)
    file = tmp_path / "run" / "config.yaml"
    described = yaml.safe_load(file.read_text())
    del described["training"]["optim_args"]  # another version of it may know fewer arguments,
    described["training"]["dropped_later"] = 1  # and others
    file.write_text(yaml.safe_dump(described))
    with pytest.raises(
        FlyThinkerError,
        match=r"begun with other settings \(training\.global_batch_size: None → 4\)",
    ):
        train(configure("training.max_steps=2", "training.global_batch_size=4", *CHECKPOINTS))
    assert train(configure("training.max_steps=2", *CHECKPOINTS)) == model


def test_a_run_that_never_started_does_not_hold_its_folder(configure):
    with pytest.raises(FlyThinkerError, match="no examples to train on"):
        train(configure("data.max_train=0"))
    assert train(configure("training.max_steps=1")).is_dir()


def test_a_finished_run_is_not_repeated(configure):
    settings = ("training.max_steps=2",)
    model = train(configure(*settings))
    written = (model / "model.safetensors").stat().st_mtime_ns
    assert train(configure(*settings)) == model
    assert (model / "model.safetensors").stat().st_mtime_ns == written


# what lands in the folder


@pytest.mark.parametrize("overrides", [(), ("lora.r=4", "training.learning_rate=1e-2")])
def test_the_model_folder_is_complete(configure, make_trainer, overrides):
    settings = (
        "training.num_train_epochs=1",
        "training.eval_strategy=steps",
        "training.eval_steps=5",
        *overrides,
    )
    config = configure(*settings)
    folder = train(config)
    last = [e["eval_loss"] for e in history(folder)["log_history"] if "eval_loss" in e][-1]
    assert history(folder)["steps"] == 10
    assert json.loads((folder / "prompt.json").read_text())["profile_tokens"] == 60
    assert hidden(folder.parent) == []

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (
        tokenizer.chat_template
        == AutoTokenizer.from_pretrained(config.model.generator).chat_template
    )
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert not [name for name in model.state_dict() if "lora" in name]
    trainer = make_trainer(*settings[:1])
    trainer.model.load_state_dict(model.state_dict())
    assert trainer.evaluate()["eval_loss"] == pytest.approx(last, abs=1e-5)


def test_validation_data_must_be_there(configure):
    with pytest.raises(FlyThinkerError, match=r"needs data\.validation"):
        train(configure("data.validation=null", "training.eval_strategy=epoch"))
    with pytest.raises(FlyThinkerError, match=r"val\.jsonl: no examples to evaluate on"):
        train(configure("data.max_validation=0"))


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("model.reasoner=null",), "set model.fusion_weight to 0"),
        (("model.reasoner_layers=9",), "this Reasoner has 2 layers"),
        (("model.fusion_weight=-1",), "it must be 0 or more"),
    ],
)
def test_a_setting_that_does_not_work_is_explained(configure, overrides, reason):
    with pytest.raises(FlyThinkerError, match=reason):
        train(configure(*overrides))


# failing while saving


@pytest.mark.parametrize("during", ["model", "checkpoint"])
def test_a_full_disk_leaves_nothing_half_written(configure, tmp_path, during):
    settings = ("training.num_train_epochs=3", *(CHECKPOINTS if during == "checkpoint" else ()))
    with full_disk(), pytest.raises((OSError, SafetensorError), match="File too large"):
        train(configure(*settings))
    output = tmp_path / "run"
    assert not (output / "model").exists()
    assert hidden(output) == []
    assert last_checkpoint(output) is None

    # there is room again
    assert len(curve(train(configure(*settings)))) == 30


def test_ctrl_c_while_saving_keeps_the_older_model(configure, make_trainer, tokenizer, tmp_path):
    config = configure()
    folder = tmp_path / "model"
    save_model_folder(folder, make_trainer().model, tokenizer, config.prompt, {"steps": 1})
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    class Interrupted(type(tokenizer)):
        def save_pretrained(self, *args, **kwargs):
            super().save_pretrained(*args, **kwargs)
            signal.raise_signal(signal.SIGINT)

    tokenizer.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        save_model_folder(folder, make_trainer().model, tokenizer, config.prompt, {"steps": 2})
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert hidden(tmp_path) == []
