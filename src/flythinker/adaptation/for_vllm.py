"""An adapter as vLLM loads it."""

import json
from pathlib import Path

from safetensors.torch import save_file

from flythinker.adapter import Adapter
from flythinker.files import atomic_folder


def save_for_vllm(folder: Path, adapter: Adapter) -> None:
    """Write the folder that a `LoRARequest` of vLLM names, in the form of PEFT's.

    The tensors' names begin with the fingerprint of what the adapter changes: the plugin refuses
    those of another model. An older folder is replaced, but what is loaded stays: vLLM tells
    adapters, and prompts read with them, apart by name and path.
    """
    tensors = {}
    for layer, (a, b) in adapter.changes.items():
        name = f"base_model.model.{adapter.about.base}.{layer}"
        tensors[f"{name}.lora_A.weight"] = a.contiguous()
        tensors[f"{name}.lora_B.weight"] = b.contiguous()
    settings = {
        "peft_type": "LORA",
        "r": adapter.rank,
        "lora_alpha": adapter.about.scale * adapter.rank,
        "target_modules": sorted(adapter.changes),
    }
    with atomic_folder(folder) as temporary:
        save_file(tensors, temporary / "adapter_model.safetensors")
        (temporary / "adapter_config.json").write_text(json.dumps(settings, indent=2))
