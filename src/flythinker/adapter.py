"""A person's adapter: low-rank changes of one part of a model, in one small file."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_folder, atomic_write

Part = Literal["reasoner", "generator"]
Changes = dict[str, tuple[Tensor, Tensor]]
_ABOUT = "flythinker_adapter"


@dataclass(frozen=True)
class About:
    """What an adapter is of, and what it is worth.

    Attributes:
        user: whose writings it learned from.
        part: what it changes: "reasoner" (and the projection), or "generator".
        base: `fingerprint` of the model that it changes.
        scale: W becomes W + scale · B A.
        texts, words: passages that it learned from.
        held_out: later passages that it was judged by.
        before, after: their loss without and with it, nats a token.
        gain, low, high: after − before and its 95 % interval.
        seconds: that learning took.
        made: when, ISO 8601.
    """

    user: str
    part: Part
    base: str
    scale: float
    texts: int
    words: int
    held_out: int
    before: float
    after: float
    gain: float
    low: float
    high: float
    seconds: float
    made: str


@dataclass(frozen=True, eq=False)
class Adapter:
    """Low-rank changes by the names of the layers.

    Attributes:
        about: see `About`.
        changes: name of a linear layer → A [r, in] and B [out, r], bfloat16.
    """

    about: About
    changes: Changes

    @cached_property
    def version(self) -> str:
        """Of its numbers: what was read with another version must not be mixed with it."""
        digest = hashlib.sha256(str(self.about.scale).encode())
        for name, sides in sorted(self.changes.items()):
            for side in sides:
                digest.update(f"{name} {tuple(side.shape)}".encode())
                digest.update(side.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:32]

    @property
    def rank(self) -> int:
        """The largest of its changes."""
        return max((len(a) for a, _ in self.changes.values()), default=0)

    @property
    def bytes(self) -> int:
        """Of its numbers."""
        return sum(a.nbytes + b.nbytes for a, b in self.changes.values())


def layers_to_adapt(model: PreTrainedModel, part: Part) -> list[str]:
    """The linear layers of `part` that adapters change: all but heads and routers.

    The Reasoner's end with the projection, where there is one that is learned.
    """
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and name.startswith(f"{part}.")
        and module is not model.get_output_embeddings()
        and "Router" not in type(module).__name__
    ]
    return [*names, "projection"] if part == "reasoner" and model.projection is not None else names


def fingerprint(model: PreTrainedModel, part: Part) -> str:
    """Names, shapes and first numbers of what an adapter changes: another model has another.

    The numbers are rounded, so that a model is the same in whichever type it is loaded.
    """
    return fingerprint_of(
        beginning(name, model.get_submodule(name).weight) for name in layers_to_adapt(model, part)
    )


def beginning(layer: str, weight: Tensor) -> bytes:
    """What a `fingerprint` takes of one layer."""
    first = weight.detach().flatten()[:64].to(torch.bfloat16).float().cpu().numpy()
    return f"{layer} {tuple(weight.shape)}".encode() + first.tobytes()


def fingerprint_of(beginnings: Iterable[bytes]) -> str:
    """The `fingerprint` of a part, from the `beginning` of each of its layers, in their order."""
    return hashlib.sha256(b"".join(beginnings)).hexdigest()[:16]


def check_base(adapter: Adapter, base: str | None, name: str) -> None:
    """Raise `FlyThinkerError` for an adapter, called `name`, of another model than `base`.

    `base` is the `fingerprint` of the part that it changes; `None`: there is no such part.
    """
    if adapter.about.base != base:
        raise FlyThinkerError(
            f"{name}: made for another model (its {adapter.about.part} has other weights); "
            "run `flythinker adapt` with this one"
        )


def adapter_bytes(adapter: Adapter) -> bytes:
    """All of it as one safetensors file."""
    tensors: dict[str, Tensor] = {}
    for name, (a, b) in adapter.changes.items():
        tensors |= {f"{name}.A": a.contiguous(), f"{name}.B": b.contiguous()}
    return save(tensors, {_ABOUT: json.dumps(asdict(adapter.about))})


def parse_adapter(data: bytes, name: str) -> Adapter:
    """What `adapter_bytes` gave.

    Raises:
        FlyThinkerError: it is something else; `name` is what the message calls it.
    """
    try:
        tensors = load(data)
        # the library gives its metadata of files only: a JSON header follows its length
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = About(**json.loads(header["__metadata__"][_ABOUT]))
        layers = sorted({key.rpartition(".")[0] for key in tensors})
        changes = {layer: (tensors[f"{layer}.A"], tensors[f"{layer}.B"]) for layer in layers}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FlyThinkerError(f"{name}: not an adapter of `flythinker adapt`") from error
    return Adapter(about, changes)


def save_adapter(path: Path, adapter: Adapter) -> None:
    """Write one file, which appears only when it is complete."""
    with atomic_write(path, binary=True) as file:
        file.write(adapter_bytes(adapter))


def load_adapter(path: Path) -> Adapter:
    """Read what `save_adapter` wrote.

    Raises:
        FlyThinkerError: no such file, or another kind of file.
    """
    if not path.is_file():
        raise FlyThinkerError(f"{path}: no such adapter; `flythinker adapt` makes one")
    return parse_adapter(path.read_bytes(), str(path))


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


def merge_adapter(model: PreTrainedModel, adapter: Adapter, name: str) -> None:
    """Add an adapter's changes to the weights of `model`, in their own type.

    Raises:
        FlyThinkerError: it was made for another model; `name` is the adapter's in the message.
    """
    check_base(adapter, fingerprint(model, adapter.about.part), name)
    merge_changes(model, adapter.changes, adapter.about.scale)


@contextmanager
def changed(model: PreTrainedModel, adapter: Adapter) -> Iterator[None]:
    """A model with an adapter's changes merged, which it loses again to the bit."""
    before = {name: model.get_submodule(name).weight.clone() for name in adapter.changes}
    merge_changes(model, adapter.changes, adapter.about.scale)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in before.items():
                model.get_submodule(name).weight.copy_(weight)


@torch.no_grad()
def merge_changes(model: PreTrainedModel, changes: Changes, scale: float) -> None:
    """W + scale · B A, in the type of W, for each of the named layers."""
    for name, (a, b) in changes.items():
        layer: Any = model.get_submodule(name)
        change = scale * (b.float() @ a.float())
        layer.weight += (change.T if isinstance(layer, Conv1D) else change).to(layer.weight)
