"""A model that also sees gives its text model as a part."""

import torch
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from flythinker import FlyThinkerForCausalLM
from tiny import random_ids

TEXT = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "sliding_window": 8,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@torch.no_grad()
def test_its_text_model_writes(tmp_path):
    config = Gemma3Config(text_config=TEXT, vision_config=VISION, mm_tokens_per_image=1)
    seeing = Gemma3ForConditionalGeneration(config).eval()
    seeing.save_pretrained(tmp_path / "seeing")
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        str(tmp_path / "seeing"), None, fusion_weight=0
    )
    ids = random_ids(1, 12)
    assert torch.equal(model(ids).logits, seeing(input_ids=ids).logits)
    assert not any("vision" in name for name, _ in model.named_parameters())
    model.save_pretrained(tmp_path / "both")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "both")
    assert torch.equal(loaded(ids).logits, model(ids).logits)
