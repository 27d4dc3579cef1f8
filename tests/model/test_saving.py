"""Invariant 7: saved and loaded = before, through the Auto classes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from flythinker import FlyThinkerConfig, FlyThinkerForCausalLM
from tiny import FAMILIES, random_ids, tiny_flythinker, tiny_generator

PROMPT_LENGTH = torch.tensor([4])
load = AutoModelForCausalLM.from_pretrained


@torch.no_grad()
def test_a_loaded_model_is_the_saved_one(model, tmp_path):
    ids = random_ids(1, 9)
    model.save_pretrained(tmp_path)
    loaded, report = load(tmp_path, output_loading_info=True)

    assert type(loaded) is FlyThinkerForCausalLM
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    before, after = (m(ids, prompt_length=PROMPT_LENGTH).logits for m in (model, loaded))
    assert torch.equal(after, before)


@torch.no_grad()
def test_a_bfloat16_model_is_saved_and_loaded_as_it_is(model, tmp_path):
    ids = random_ids(1, 9)
    model.save_pretrained(tmp_path / "float32")
    rounded = load(tmp_path / "float32", dtype=torch.bfloat16)
    rounded.save_pretrained(tmp_path / "bfloat16")
    loaded = load(tmp_path / "bfloat16")

    assert {value.dtype for value in loaded.parameters()} == {torch.bfloat16}
    logits = [
        m(ids, prompt_length=PROMPT_LENGTH).logits
        for m in (model, rounded, loaded, load(tmp_path / "bfloat16", dtype=torch.float32))
    ]
    assert torch.equal(logits[1], logits[2])
    # close to float32: eight bits of mantissa through two layers each
    for narrow in logits[1:]:
        torch.testing.assert_close(narrow.float(), logits[0], atol=0.3, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_joining_parts_in_bfloat16_leaves_their_float32_buffers(family, tmp_path):
    ids = random_ids(1, 100)
    tiny_generator(family).save_pretrained(tmp_path)
    generator = load(tmp_path, dtype=torch.bfloat16)
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        str(tmp_path),
        str(tmp_path),
        projection="linear",
        reasoner_layers=2,
        dtype=torch.bfloat16,
    )
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    assert torch.equal(model(ids).logits, generator(ids).logits)
    hidden = model(ids).reasoner_hidden_state
    assert torch.equal(hidden, generator.base_model(ids).last_hidden_state)


def test_only_safetensors_are_written_and_tied_weights_once(tmp_path):
    model = tiny_flythinker()
    model.save_pretrained(tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {
        "config.json",
        "flythinker_model.py",
        "generation_config.json",
        "model.safetensors",
    }
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "generator.lm_head.weight" not in file.keys()  # noqa: SIM118

    loaded = load(tmp_path)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


def test_untied_embeddings_stay_untied(tmp_path):
    generator = tiny_generator()
    generator.config.tie_word_embeddings = False
    generator = AutoModelForCausalLM.from_config(generator.config).eval()
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        generator, None, fusion_weight=0
    )
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert torch.equal(loaded.get_output_embeddings().weight, generator.lm_head.weight)
    assert loaded.reasoner is None


def test_the_config_survives_the_round_trip(variant, tmp_path):
    config = tiny_flythinker(variant).config
    config.fusion_weight = 0.25
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)

    assert type(loaded) is FlyThinkerConfig
    assert json.loads(Path(tmp_path, "config.json").read_text())["model_type"] == "flythinker"
    assert loaded.to_diff_dict() == config.to_diff_dict()
    assert type(loaded.generator_config) is type(config.generator_config)
    assert (loaded.fusion_weight, loaded.injection, loaded.projection, loaded.thought_size) == (
        0.25,
        variant.injection,
        variant.projection,
        variant.reasoner_width,
    )


def test_generation_settings_of_the_generator_are_kept(tmp_path):
    generator = tiny_generator()
    generator.generation_config = GenerationConfig(
        do_sample=True, temperature=0.8, top_p=0.95, eos_token_id=[1, 3], pad_token_id=0
    )
    generator.save_pretrained(tmp_path / "generator")
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        str(tmp_path / "generator"), str(tmp_path / "generator"), reasoner_layers=1
    )
    model.save_pretrained(tmp_path / "both")
    settings = load(tmp_path / "both").generation_config
    assert (settings.temperature, settings.top_p, settings.eos_token_id) == (0.8, 0.95, [1, 3])


@torch.no_grad()
def test_parts_may_be_folders(tmp_path):
    ids = random_ids(1, 9)
    model = tiny_flythinker()
    model.generator.save_pretrained(tmp_path / "generator")
    model.reasoner.save_pretrained(tmp_path / "reasoner")
    loaded = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        str(tmp_path / "generator"), str(tmp_path / "reasoner")
    )
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert not loaded.training


@torch.no_grad()
def test_a_reasoner_cut_to_its_first_layers_thinks_with_them():
    ids = random_ids(1, 9)
    generator, whole = tiny_generator(), tiny_generator()
    cut = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        generator, generator, reasoner_layers=1
    )
    whole.model.layers = whole.model.layers[:1]
    assert torch.equal(cut(ids).reasoner_hidden_state, whole.model(ids).last_hidden_state)
    assert generator.config.num_hidden_layers == len(generator.model.layers) == 2
    assert cut.config.reasoner_config.num_hidden_layers == 1


@torch.no_grad()
def test_given_models_keep_their_weights_and_dtype():
    generator = tiny_generator().to(torch.bfloat16)
    # a module that transformers has not made, such as an adapter's, is not made anew either
    generator.model.layers[0].mlp.up_proj = nn.Linear(32, 64, bias=False, dtype=torch.bfloat16)
    weights = {name: value.clone() for name, value in generator.state_dict().items()}
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        generator, generator, reasoner_layers=1
    )
    assert model.generator is generator
    assert all(torch.equal(value, weights[name]) for name, value in generator.state_dict().items())
    assert model.reasoner.dtype == torch.bfloat16


def test_each_part_may_be_given_a_device_of_its_own(tmp_path):
    model = tiny_flythinker()
    model.save_pretrained(tmp_path)
    devices = {"generator": "cpu", "projection": "cpu", "reasoner": "cpu"}
    placed = AutoModelForCausalLM.from_pretrained(tmp_path, device_map=devices)
    ids = random_ids(2, 7)
    assert torch.equal(placed(ids).logits, model(ids).logits)
    for name in ("generator", "reasoner"):
        getattr(model, name).save_pretrained(tmp_path / name)
    joined = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        str(tmp_path / "generator"),
        str(tmp_path / "reasoner"),
        device_map={"generator": "cpu", "reasoner": "meta"},
    )
    assert (joined.device.type, joined.reasoner.device.type) == ("cpu", "meta")


def test_both_parts_may_have_one_name(tmp_path):
    tiny_generator().save_pretrained(tmp_path)
    name = str(tmp_path)
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(name, name)
    assert model.reasoner is not model.generator.base_model
