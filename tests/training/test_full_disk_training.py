"""A training on a small disk: refused before its first step, or cut in a checkpoint and resumed."""

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import TrainerCallback

from command import fail, succeed
from flythinker.disk import DiskFull
from flythinker.training.room import RoomCheck
from flythinker.training.run import Recipe, train
from flythinker.training.trainer import FlyThinkerTrainer
from small_disk import fill

# TensorBoard's log would be the first that finds no room
CHECKPOINTS = ("training.save_strategy=steps", "training.save_steps=8", "training.report_to=[]")


class Filled(TrainerCallback):
    """Somebody else takes the disk's room after so many steps."""

    def __init__(self, step, folder, leave):
        self.step, self.folder, self.leave = step, folder, leave

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            fill(self.folder, self.leave)


def test_a_run_without_room_is_refused_before_its_first_step(config_file, disk):
    folder = disk(8)
    sections = yaml.safe_load(config_file.read_text())
    sections["training"] |= {"output_dir": f"{folder}/run", "save_strategy": "steps"}
    config_file.write_text(yaml.safe_dump(sections))
    filling = fill(folder, leave=100_000)
    line = fail("train", config_file)
    assert f"error: {folder}/run: needs at least" in line
    assert "1 checkpoint at a time, then the model" in line
    assert "are free on its disk: make room, or choose another training.output_dir" in line
    assert "'loss'" not in line
    assert not list((folder / "run").glob("checkpoint-*"))
    filling.unlink()
    assert "steps" in succeed("train", config_file)
    assert (folder / "run" / "model" / "model.safetensors").exists()


@pytest.mark.parametrize("leave", [0, 150_000], ids=["in the weights", "in the optimizer"])
def test_a_run_cut_in_its_checkpoint_goes_on_when_there_is_room(configure, disk, tmp_path, leave):
    folder = disk(8)
    settings = configure(*CHECKPOINTS, f"training.output_dir={folder}/run")

    class CutTrainer(FlyThinkerTrainer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs, callbacks=[Filled(12, folder, leave)])

    with pytest.raises(DiskFull, match=f"{folder}/run/checkpoint-16: no room for it"):
        train(settings, recipe=Recipe(trainer=CutTrainer))
    with pytest.raises(DiskFull, match=r"needs at least|config.yaml: no room"):
        train(configure(*CHECKPOINTS, f"training.output_dir={folder}/run"))
    (folder / "filling").unlink()
    resumed = train(configure(*CHECKPOINTS, f"training.output_dir={folder}/run"))
    whole = train(configure(*CHECKPOINTS))
    first, second = (load_file(model / "model.safetensors") for model in (resumed, whole))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("lora", [(), ("lora.r=64",)], ids=["full", "lora"])
def test_the_estimate_is_what_is_written(configure, make_trainer, tmp_path, lora):
    """The tiny files are half names and settings; a real model's are weights."""
    trainer = make_trainer(*CHECKPOINTS, *lora)
    check = RoomCheck(trainer.model, trainer.args)
    model = train(configure(*CHECKPOINTS, *lora))
    checkpoint = tmp_path / "run" / "checkpoint-30"
    (weights,) = checkpoint.glob("*.safetensors")
    written = weights.stat().st_size + (checkpoint / "optimizer.pt").stat().st_size
    assert check.checkpoint_bytes <= written < 1.2 * check.checkpoint_bytes
    written = (model / "model.safetensors").stat().st_size
    assert check.model_bytes <= written < 1.2 * check.model_bytes


def test_checkpoints_that_will_be_deleted_make_room(configure, disk):
    """A run that keeps two has three for a moment; one that goes on has some already."""
    folder = disk(8)
    settings = (*CHECKPOINTS, f"training.output_dir={folder}/run")
    train(configure(*settings))
    sizes = [
        sum(file.stat().st_blocks * 512 for file in one.iterdir())
        for one in (folder / "run").glob("checkpoint-*")
    ]
    assert len(sizes) == 2
    train(configure(*settings), restart=True)
    filling = fill(folder, leave=int(3.5 * max(sizes)))
    train(configure(*settings), restart=True)
    filling.unlink()
    fill(folder, leave=1000)
    with pytest.raises(DiskFull, match="3 checkpoints at a time"):
        train(configure(*settings), restart=True)
