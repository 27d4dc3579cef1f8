import json

import pytest
import torch
from typer.testing import CliRunner

from flythinker.bench.train import Stepper, packed_batch
from flythinker.cli.main import app
from flythinker.training.config import load_config

RATIOS = ("step_ratio", "throughput_vs_released", "grouped_vs_padded", "packed_vs_padded")


@pytest.mark.slow
def test_every_training_figure_is_there(config_file):
    done = CliRunner().invoke(app, ["bench", "train", str(config_file), "--rounds", "2", "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout.strip().splitlines()[-1])["train"]
    for key in RATIOS:
        assert 0 < figures["spread"][key]["low"] <= figures["spread"][key]["high"]
    assert figures["step_ratio_floor"] > 1
    assert figures["throughput_vs_released"] > 1
    assert 0 < figures["memory_vs_released"] < 1.1  # of so small a model, mostly torch itself


def test_rows_packed_give_the_loss_of_rows_padded(config_file):
    """What is compared is the same training."""
    stepper = Stepper(load_config(config_file))
    rows = list(stepper.trainer.train_dataset)[:4]
    model = stepper.model.eval()
    with torch.no_grad():
        padded, packed = (model(**make(rows)).loss for make in (stepper.padded, packed_batch))
    assert packed.item() == pytest.approx(padded.item(), rel=1e-4)


def test_a_released_step_has_the_same_loss(config_file):
    stepper = Stepper(load_config(config_file))
    row = next(iter(stepper.trainer.train_dataset))
    model = stepper.model.eval()
    with torch.no_grad():
        losses = [
            model(**make).loss for make in (stepper.padded([row]), stepper.at_full_length(row))
        ]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-4)
