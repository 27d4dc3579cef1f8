"""`model.trained`: a run that goes on with a finished model, as it was saved."""

from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from flythinker.errors import FlyThinkerError
from flythinker.model_folder import load_model_folder, read_training
from flythinker.planning.plan import joined_config
from flythinker.training.config import load_config
from flythinker.training.run import build_trainer, train

SIZES = {
    "generator": {"layers": 2, "width": 32, "heads": 2},
    "reasoner": {"layers": 1, "width": 32, "heads": 2},
    "vocabulary": 400,
    "fusion_weight": 0.25,
    "injection": "output",
}


@pytest.fixture
def first_file(config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLYTHINKER_CACHE", str(tmp_path / "cache"))
    sections = yaml.safe_load(config_file.read_text())
    sections["model"] = SIZES
    sections["training"] |= {"max_steps": 6, "output_dir": str(tmp_path / "first")}
    config_file.write_text(yaml.safe_dump(sections))
    return config_file


@pytest.fixture
def second_file(first_file: Path, tmp_path: Path) -> Path:
    """A config that goes on with what the first leaves in `tmp_path/first/model`."""
    sections = yaml.safe_load(first_file.read_text())
    sections["model"] = {"trained": str(tmp_path / "first" / "model")}
    sections["training"]["output_dir"] = str(tmp_path / "second")
    file = tmp_path / "second.yaml"
    file.write_text(yaml.safe_dump(sections))
    return file


def test_it_begins_with_the_model_as_it_was_saved_and_changes_it(first_file, second_file):
    first = train(load_config(first_file))
    weights = load_file(first / "model.safetensors")
    config = load_config(second_file)
    start = build_trainer(config).model
    assert (start.config.fusion_weight, start.config.injection) == (0.25, "output")
    named = start.state_dict()
    assert all(named[name].equal(weight) for name, weight in weights.items())
    planned = joined_config(config)
    assert (planned.fusion_weight, planned.reasoner_config.num_hidden_layers) == (0.25, 1)

    second = train(config)
    assert not load_file(second / "model.safetensors")["generator.model.norm.weight"].equal(
        weights["generator.model.norm.weight"]
    )
    assert (
        read_training(second)["log_history"][0]["loss"]
        < read_training(first)["log_history"][0]["loss"]
    )
    old, new = load_model_folder(str(first)), load_model_folder(str(second))
    assert new.tokenizer("The people").input_ids == old.tokenizer("The people").input_ids
    assert "2 layers, 32 wide, from random weights" in (second / "README.md").read_text()


def test_adapters_go_on_as_well(first_file, second_file):
    train(load_config(first_file))
    second = train(load_config(second_file, ["lora.r=2", "training.max_steps=1"]))
    assert load_model_folder(str(second)).model.config.fusion_weight == 0.25


def test_sft_goes_on_with_sft_only(first_file, second_file):
    with_reasoner = train(load_config(first_file, ["training.max_steps=1"]))
    with pytest.raises(FlyThinkerError, match="has a Reasoner: SFT goes on with a model trained"):
        build_trainer(load_config(second_file, ["model.fusion_weight=0"]))
    alone = train(
        load_config(
            first_file,
            [
                "training.max_steps=1",
                "model.reasoner=null",
                "model.fusion_weight=0",
                f"training.output_dir={with_reasoner.parent.parent / 'sft'}",
            ],
        )
    )
    with pytest.raises(FlyThinkerError, match="has no Reasoner, so it is SFT that goes on"):
        build_trainer(load_config(second_file, [f"model.trained={alone}"]))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("model.generator=smollm2-135m", "generator is as the trained model was saved"),
        ("model.injection=input", "injection is as the trained model was saved"),
        ("model.trained=null", "name a generator, or in trained a finished model"),
        ("model.trained=no/such/folder", "model.trained: "),
    ],
)
def test_what_does_not_go_with_it_is_one_line(second_file, override, reason):
    with pytest.raises(FlyThinkerError, match=reason) as error:
        build_trainer(load_config(second_file, [override]))
    assert "\n" not in str(error.value)
