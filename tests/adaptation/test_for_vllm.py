"""An adapter as a folder for vLLM; tests/vllm_plugin loads such folders."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from command import succeed
from flythinker.adapter import save_adapter
from random_adapters import random_adapter
from tiny import Variant, tiny_flythinker


def test_export_adapter(tmp_path: Path) -> None:
    """All of its numbers, with its scale, under names that begin with the model's fingerprint."""
    adapter = random_adapter(tiny_flythinker(Variant(projection="linear")), rank=3)
    adapter = replace(adapter, about=replace(adapter.about, scale=2.0))
    save_adapter(tmp_path / "me.adapter", adapter)
    succeed("export-adapter", tmp_path / "me.adapter", "--out", tmp_path / "me.lora")
    tensors = load_file(tmp_path / "me.lora" / "adapter_model.safetensors")
    assert len(tensors) == 2 * len(adapter.changes)
    for layer, sides in adapter.changes.items():
        name = f"base_model.model.{adapter.about.base}.{layer}"
        for side, expected in zip("AB", sides, strict=True):
            assert torch.equal(tensors[f"{name}.lora_{side}.weight"], expected)
    settings = json.loads((tmp_path / "me.lora" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"] / settings["r"]) == (3, 2.0)
