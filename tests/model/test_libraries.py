"""PEFT and TRL work on a FlyThinker model as on any causal LM."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from flythinker import FlyThinkerForCausalLM
from flythinker.backbones.packaged import resolve_backbone
from tiny import TOLERANCE, Variant, random_ids, tiny_config, tiny_flythinker

IDS = random_ids(2, 12)
TEXTS = [
    "The state of the union is strong, and the people know it.",
    "The state of the treasury is sound, and the people know it.",
    "The state of the navy is good, and the Congress knows it.",
    "The state of our roads is poor, and the farmers know it.",
]


def train(model: nn.Module, steps: int = 15) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.fixture(params=["all-linear", ["q_proj", "v_proj"]], ids=["all-linear", "by name"])
def lora(request: pytest.FixtureRequest) -> PeftModel:
    """Adapters on both parts of a narrow-Reasoner model with a linear projection."""
    torch.manual_seed(0)
    model = tiny_flythinker(Variant(reasoner_width=16, projection="linear"))
    return get_peft_model(
        model, LoraConfig(r=4, target_modules=request.param, task_type="CAUSAL_LM")
    )


def test_lora_adapts_and_trains_both_parts(lora):
    adapters = {name: p.detach().clone() for name, p in lora.named_parameters() if "lora_B" in name}
    assert {name.split(".")[2] for name in adapters} >= {"generator", "reasoner"}

    losses = train(lora)
    assert losses[-1] < 0.8 * losses[0]
    for name, parameter in lora.named_parameters():
        if name in adapters:
            assert not torch.equal(parameter, adapters[name]), name


@torch.no_grad()
def test_a_trained_adapter_writes_merges_and_is_saved(lora, tmp_path):
    with torch.enable_grad():
        train(lora, steps=5)
    lora.eval()
    logits = lora(input_ids=IDS).logits
    text = lora.generate(input_ids=IDS, max_new_tokens=5, do_sample=False)
    assert (logits - lora.base_model.model(IDS, fusion_weight=0).logits).abs().max() > 1e-2

    lora.save_pretrained(tmp_path)
    base = tiny_flythinker(Variant(reasoner_width=16, projection="linear"))
    reloaded = PeftModel.from_pretrained(base, tmp_path).eval()
    torch.testing.assert_close(reloaded(input_ids=IDS).logits, logits, **TOLERANCE)

    merged = lora.merge_and_unload()
    assert type(merged) is FlyThinkerForCausalLM
    torch.testing.assert_close(merged(IDS).logits, logits, **TOLERANCE)
    assert torch.equal(merged.generate(IDS, max_new_tokens=5, do_sample=False), text)


# its own default
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_trl_trains_it_unchanged(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(resolve_backbone("smollm2-135m"))
    config = tiny_config("llama", vocab=len(tokenizer))
    torch.manual_seed(0)
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        AutoModelForCausalLM.from_config(config), AutoModel.from_config(config)
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(tmp_path / "run"),
            max_steps=8,
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            logging_steps=1,
            report_to="none",
            bf16=False,
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"text": TEXTS}),
        processing_class=tokenizer,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0]
    for part in ("generator", "reasoner"):
        assert any(
            not torch.equal(p, before[name])
            for name, p in model.named_parameters()
            if name.startswith(part)
        )

    trainer.save_model(str(tmp_path / "saved"))
    assert Path(tmp_path, "saved", "model.safetensors").exists()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    ids = tokenizer(TEXTS[0], return_tensors="pt").input_ids
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, model.eval()(ids).logits, **TOLERANCE)
