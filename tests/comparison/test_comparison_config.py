import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flythinker.comparison.ablate import entry_name, load_ablation
from flythinker.comparison.config import load_comparison, only
from flythinker.errors import FlyThinkerError
from flythinker.methods.cos import CoS
from flythinker.methods.flythinker import FlyThinker

CONFIGS = Path(__file__).parents[2] / "configs" / "compare"


def test_what_trains_runs_with_every_seed_and_the_rest_once(comparison_file):
    path = comparison_file({"rag": None, "sft": None, "flythinker": {"seeds": [7]}}, seeds=[1, 2])
    trials = load_comparison(path).trials
    assert [trial.id for trial in trials] == ["rag-s1", "sft-s1", "flythinker-s7", "sft-s2"]
    assert [trial.config.training.seed for trial in trials] == [1, 1, 7, 2]


def test_an_entry_has_its_own_settings_options_and_label(comparison_file):
    path = comparison_file(
        {
            "weak": {"method": "flythinker", "label": "λ 0.1", "set": ["model.fusion_weight=0.1"]},
            "cos": {"options": {"alpha": 2}},
        }
    )
    weak, cos = load_comparison(path, ["prompt.k=1", "compare.examples=5"]).trials
    assert (weak.method, weak.label, weak.config.model.fusion_weight) == (FlyThinker, "λ 0.1", 0.1)
    assert (cos.method, cos.options, cos.config.model.fusion_weight) == (CoS, {"alpha": 2.0}, 0.5)
    assert weak.config.prompt.k == cos.config.prompt.k == 1


@pytest.mark.parametrize(
    ("methods", "settings", "reason"),
    [
        ({"stf": None}, {}, "unknown method 'stf'; did you mean 'sft'?"),
        ({"cos": {"options": {"alpa": 1}}}, {}, "unknown option 'alpa'; did you mean 'alpha'?"),
        ({"cos": {"options": {"alpha": "x"}}}, {}, "key 'alpha': Input should be a valid number"),
        ({"sft": {"sets": []}}, {}, "methods.sft: unknown key 'sets'; did you mean 'set'?"),
        ({"sft": {"set": ["model.x=1"]}}, {}, "unknown key 'x'"),
        ({"sft": None}, {"exampels": 3}, "unknown key 'exampels'; did you mean 'examples'?"),
        ({"sft": None}, {"baseline": "stf"}, "unknown entry 'stf'; did you mean 'sft'?"),
        ({"sft": None}, {"measure": ["los"]}, "key 'measure': Input should be 'loss'"),
    ],
)
def test_a_mistake_is_named(comparison_file, methods, settings, reason):
    with pytest.raises(FlyThinkerError, match=re.escape(reason)):
        load_comparison(comparison_file(methods, **settings))


def test_two_backbones_differ_in_nothing_else():
    trials = load_comparison(CONFIGS / "backbones.yaml").trials
    models = {(trial.name, trial.config.model.generator) for trial in trials}
    assert models == {
        ("sft", "smollm2-135m"),
        ("flythinker", "smollm2-135m"),
        ("gemma-sft", "gemma3-270m"),
        ("gemma-flythinker", "gemma3-270m"),
    }
    first, *others = (
        replace(trial.config, model=replace(trial.config.model, generator="", reasoner=None))
        for trial in trials
        if trial.name.endswith("flythinker")
    )
    assert [(each.model, each.lora, each.prompt) for each in others] == [
        (first.model, first.lora, first.prompt)
    ]


def test_each_trial_goes_on_with_the_model_of_its_own_seed():
    trials = load_comparison(CONFIGS / "nano-sotu.yaml").trials
    trained = {trial.id: trial.config.model.trained for trial in trials}
    for name in ("sft", "flythinker"):
        for seed in (1, 2, 3):
            folder = f"runs/compare-nano/{name}-s{seed}/train/model"
            assert trained[f"{name}-s{seed}"] == folder


def test_a_training_config_is_no_comparison(config_file):
    with pytest.raises(FlyThinkerError, match="section 'compare' is missing"):
        load_comparison(config_file)


def test_some_entries_only(comparison_file):
    comparison = load_comparison(comparison_file({"rag": None, "sft": None}))
    assert [trial.name for trial in only(comparison, ["sft"]).trials] == ["sft"]
    with pytest.raises(FlyThinkerError, match="unknown entry 'stf'"):
        only(comparison, ["stf"])


def test_studies_share_the_points_that_are_the_same(comparison_file):
    path = comparison_file({})
    sections = yaml.safe_load(path.read_text())
    sections["ablate"] = {
        "test": sections["compare"]["test"],
        "results": "results",
        "set": ["training.max_steps=3"],
        "studies": {
            "λ": {"points": {"0.5": [], "1": ["model.fusion_weight=1"]}},
            "history": {
                "methods": ["sft", "flythinker"],
                "points": {"2": [], "0": ["prompt.k=0"]},
            },
        },
    }
    path.write_text(yaml.safe_dump(sections, sort_keys=False))
    trials = load_ablation(path).comparison.trials
    assert [trial.id for trial in trials] == [
        "flythinker-s1",
        "flythinker-model.fusion_weight_1-s1",
        "sft-s1",
        "sft-prompt.k_0-s1",
        "flythinker-prompt.k_0-s1",
    ]
    assert {trial.config.training.max_steps for trial in trials} == {3}
    assert [trial.name for trial in load_ablation(path, only=["λ"]).comparison.trials] == [
        "flythinker",
        entry_name("flythinker", ["model.fusion_weight=1"]),
    ]
    with pytest.raises(FlyThinkerError, match="unknown study 'histori'; did"):
        load_ablation(path, only=["histori"])
