"""Persons' adapters by vLLM's multi-LoRA: what it asks of a model of two parts.

vLLM wraps linear layers by their names here, and tells all of them by one mapping which token of a
step has whose changes. Both parts read the same tokens in the same order, so one mapping does for
the Reasoner, the projection and the Generator.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import get_args

import torch
from torch import Tensor, nn
from vllm.config.lora import LoRAConfig
from vllm.lora.model_manager import LoRAModelManager
from vllm.model_executor.layers.linear import LinearBase
from vllm.model_executor.models.utils import WeightsMapper
from vllm.model_executor.utils import get_packed_modules_mapping
from vllm.platforms import current_platform

from flythinker import model as on_transformers
from flythinker.adapter import Part, beginning, fingerprint_of, layers_to_adapt
from flythinker.errors import FlyThinkerError
from flythinker.model import FlyThinkerConfig


class AdapterNames(WeightsMapper):
    """Whose adapters a model takes, and what their layers are called here.

    It is the model's `hf_to_vllm_mapper`, which vLLM asks for each tensor of a folder that
    `save_for_vllm` wrote: their names begin with the fingerprint of what they change.
    """

    def __init__(self, config: FlyThinkerConfig, here: Callable[[str], str]) -> None:
        """`here` tells what a layer or a tensor of a saved folder is called here."""
        super().__init__()
        parts = get_args(Part) if config.fusion_weight else ("generator",)
        with torch.device("meta"):
            plain = on_transformers.FlyThinkerForCausalLM(config)
        self._layers: dict[Part, list[str]] = {p: layers_to_adapt(plain, p) for p in parts}
        self._here = here
        self._beginnings: dict[str, bytes] = {}

    def read(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The tensors of a saved folder as they are; what a fingerprint needs is remembered.

        Raises:
            FlyThinkerError: at their end, if one was missing that adapters change.
        """
        layers = {f"{layer}.weight": layer for own in self._layers.values() for layer in own}
        for name, weight in weights:
            if name in layers:
                self._beginnings[name] = beginning(layers[name], weight)
            yield name, weight
        if missing := layers.keys() - self._beginnings.keys():
            raise FlyThinkerError(
                f"--enable-lora: the folder has no {min(missing)}, which adapters change: start "
                "without it"
            )

    @property
    def layers(self) -> list[str]:
        """Those that adapters change, as they are called here where vLLM does not join them."""
        return [self._here(layer) for own in self._layers.values() for layer in own]

    def map_name(self, key: str) -> str:
        """Of an adapter's tensor.

        Raises:
            FlyThinkerError: it changes another model.
        """
        base, _, name = key.partition(".")
        if base not in map(self._fingerprint, self._layers):
            raise FlyThinkerError(
                "this adapter was made for another model (the part that it changes has other "
                "weights), or is no folder of `flythinker export-adapter`"
            )
        return self._here(name)

    def get_rename_mapper(self) -> "AdapterNames":
        """Itself: it does nothing else."""
        return self

    def _fingerprint(self, part: Part) -> str:
        return fingerprint_of(self._beginnings[f"{layer}.weight"] for layer in self._layers[part])


def restrict(lora: LoRAConfig, model: nn.Module, layers: Iterable[str]) -> dict[str, list[str]]:
    """Let vLLM wrap what adapters change and nothing else: no heads, tables and routers.

    Args:
        lora: vLLM's settings, which are changed.
        model: with both parts.
        layers: that adapters change, see `AdapterNames.layers`.

    Returns: the `packed_modules_mapping` of the model: the joined layers of both parts.

    Raises:
        FlyThinkerError: a layer is not there, or the parts join others under one name.
    """
    try:
        joined = get_packed_modules_mapping(model)
    except ValueError as error:
        raise FlyThinkerError(
            "--enable-lora: the Generator and the Reasoner join other layers under one name, for "
            "which vLLM has no place: start without it"
        ) from error
    joins = {own: name for name, several in joined.items() for own in several}
    modules = dict(model.named_modules())
    wrapped = set()
    for layer in layers:
        path, dot, last = layer.rpartition(".")
        name = f"{path}{dot}{joins.get(last, last)}"
        if not isinstance(modules.get(name), LinearBase):
            raise FlyThinkerError(
                f"--enable-lora: adapters change {layer}, which vLLM's class has not as such a "
                "layer: start without it"
            )
        wrapped.add(name)
    lora.target_modules = sorted(wrapped)
    return joined


def make_room_for_nobody(manager: LoRAModelManager) -> None:
    """On a CPU, give each wrapped layer one adapter more than there can be, which stays zero.

    vLLM adds the last adapter there to the tokens that have none, whose index is −1
    (`lora/ops/torch_ops/lora_ops.py`); its kernels for GPUs leave them out.
    """
    if not current_platform.is_cpu():
        return
    for layer in manager.modules.values():
        layer.create_lora_weights(manager.lora_slots + 1, manager.lora_config, manager.model.config)
