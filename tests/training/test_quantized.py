"""Parts in 4 or 8 bits with LoRA: trained, merged whole, saved, loaded, written with."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from flythinker.data.prompt import Prompt
from flythinker.errors import FlyThinkerError
from flythinker.generation.sampling import Sampling
from flythinker.generation.write import text_writer
from flythinker.model.quantization import keep_layout
from flythinker.model_folder import load_model_folder
from flythinker.training.build import build_model
from flythinker.training.run import build_trainer, train

installed = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
LORA = ("lora.r=4", "lora.alpha=8")
IDS = torch.arange(3, 40)[None]


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits.float()


def test_without_adapters_it_is_refused(configure):
    with pytest.raises(
        FlyThinkerError, match=r"config.yaml: model.quantization.*add a section lora"
    ):
        configure("model.quantization=nf4")
    with pytest.raises(FlyThinkerError, match="key 'quantization'"):
        configure("model.quantization=int3", *LORA)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_what_is_missing_is_named(configure):
    with pytest.raises(FlyThinkerError, match="nf4 needs bitsandbytes: run `pip install"):
        train(configure("model.quantization=nf4", *LORA))


@installed
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_it_trains_and_ends_whole(kind, configure):
    config = configure(f"model.quantization={kind}", *LORA, "training.max_steps=10")
    trainer = build_trainer(config)
    frozen = [p for p in trainer.model.parameters() if p.dtype in (torch.uint8, torch.int8)]
    assert len(frozen) == 3 * 7  # linear layers of three blocks, 2 of the Generator
    assert not any(p.requires_grad for p in frozen)

    folder = train(config)
    personal = load_model_folder(str(folder))
    history = [entry["loss"] for entry in personal.training["log_history"] if "loss" in entry]
    assert history[-1] < history[0]
    assert {p.dtype for p in personal.model.parameters()} == {torch.float32}
    whole = build_model(configure().model, None)
    before, after = (dict(model.named_parameters()) for model in (whole, personal.model))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # what LoRA adapted and the projection, on weights that were never rounded
    assert len(changed) == 3 * 7 + 1
    name = "generator.model.layers.0.mlp.down_proj.weight"
    assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 4


@installed
def test_an_evaluation_takes_no_gradients_away(configure):
    """As it would where bitsandbytes reorders weights for reading; it does with these widths."""
    sizes = LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    folder = Path(configure().training.output_dir)
    LlamaForCausalLM(sizes).save_pretrained(folder)
    section = configure(f"model.generator={folder}", "model.quantization=nf4", *LORA).model
    model = build_model(replace(section, reasoner=None, fusion_weight=0.0), None)

    def gradient() -> torch.Tensor:
        embeds = model.train().get_input_embeddings()(IDS).detach().requires_grad_()
        model.generator(inputs_embeds=embeds, labels=IDS).loss.backward()
        return embeds.grad

    before = gradient()
    logits(model)
    assert torch.equal(gradient(), before)


@installed
@pytest.mark.parametrize(("kind", "off"), [("nf4", 0.6), ("int8", 0.05)])
def test_a_folder_is_rounded_saved_and_loaded_again(kind, off, configure, tmp_path):
    folder = train(configure("training.max_steps=2"))
    whole = load_model_folder(str(folder)).model
    rounded = load_model_folder(str(folder), quantization=kind).model
    change = (logits(rounded) - logits(whole)).norm() / logits(whole).norm()
    assert 0 < change < off
    rounded.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    assert names["projection.weight"].dtype == torch.float32
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    keep_layout(loaded, training=False)  # bitsandbytes fails with layers as small as these
    assert torch.equal(logits(loaded), logits(rounded))


@installed
def test_the_writer_writes_what_generate_does(configure):
    folder = train(configure("training.max_steps=2"))
    personal = load_model_folder(str(folder), quantization="nf4")
    prompt = IDS[0].tolist()
    expected = personal.model.generate(IDS, max_new_tokens=12, do_sample=False)[0, len(prompt) :]
    text = personal.tokenizer.decode(expected, skip_special_tokens=True)
    writer = text_writer(personal, slots=1)
    assert "".join(writer.stream(Prompt(prompt, [], ()), Sampling(12, 0.0))) == text


@installed
def test_eight_bit_moments(configure):
    folder = train(configure("training.optim=adamw_8bit", "training.max_steps=10"))
    history = load_model_folder(str(folder)).training["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses[-1] < losses[0]
