"""An optimizer step with tensors that have shapes and no memory: what lives, and the arithmetic.

The model, its adapters, autocast and checkpointing are the real ones, so nothing is guessed of a
family's layers; only attention and quantized layers are stood in for, by what keeps as much.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker
from transformers import AttentionInterface, PreTrainedModel

from flythinker.model import FlyThinkerConfig, FlyThinkerForCausalLM
from flythinker.model.loss import can_be_chunked, summed_cross_entropy
from flythinker.planning.live_bytes import LiveBytes
from flythinker.planning.stand_ins import ATTENTION_FLOPS, eager, quantize, streamed
from flythinker.training.build import with_adapters
from flythinker.training.config import RunConfig
from flythinker.training.trainer import checkpoint_activations, freeze, part_of

_ATTENTION = "flythinker_plan"


@dataclass(frozen=True)
class Step:
    """What one process needs for the longest rows; bytes.

    Attributes:
        parameters, trained: numbers, by part ("generator", "reasoner", "projection").
        weights: of all parameters, adapters among them.
        gradients, optimizer: of those that are trained.
        activations: what the passes of both parts keep for the way back.
        logits: what the loss needs beside that, at most.
        peak: the most at the same time. It may be less than the sum: gradients come while
            activations go.
        flops: of a whole optimizer step, recomputation included.
    """

    parameters: dict[str, int]
    trained: dict[str, int]
    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    peak: int
    flops: int


def simulate(
    config: RunConfig, model_config: FlyThinkerConfig, row_tokens: int, targets: int
) -> Step:
    """One step of `config` over rows of `row_tokens`, of which the last `targets` are learned."""
    arguments = config.training
    rows, accumulated = (
        arguments.per_device_train_batch_size,
        arguments.gradient_accumulation_steps,
    )
    eager_attention = config.model.attn_implementation == "eager"
    AttentionInterface.register(_ATTENTION, eager if eager_attention else streamed)
    model = _build(config, model_config)
    with FakeTensorMode(), LiveBytes() as live:
        _place(model)
        parts = dict(model.named_parameters())
        weights = _bytes(parts.values())
        trained = [parameter for parameter in parts.values() if parameter.requires_grad]
        optimizer = optimizer_bytes(arguments.optim, trained)
        base = live.now
        ids = torch.zeros(rows, row_tokens, dtype=torch.int64)
        live.restart()
        with _flop_counter() as counter:
            before_loss, logits = _pass(model, ids, targets, bool(arguments.bf16), live)
    peak, gradients = live.peak, _bytes(trained)
    if accumulated > 1:  # the passes after the first begin with gradients
        peak = max(peak, before_loss + logits + gradients)
    return Step(
        parameters=_numbers(parts),
        trained=_numbers({name: p for name, p in parts.items() if p.requires_grad}),
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=before_loss - base,
        logits=logits,
        peak=peak + optimizer,
        flops=counter.get_total_flops() * accumulated,
    )


def optimizer_bytes(name: str, trained: list[nn.Parameter]) -> int:
    """What an optimizer keeps of the trained parameters; of an unknown one two numbers each."""
    return sum(_state_bytes(name, parameter) for parameter in trained)


def _state_bytes(name: str, parameter: Tensor) -> int:
    numbers = parameter.numel()
    if name in ("sgd", "adafactor") or "paged" in name:  # paged: in the host's memory
        return 0
    states = 1 if name.startswith(("lion", "rmsprop", "adagrad")) else 2
    if "8bit" in name and numbers >= 4096:  # bitsandbytes leaves smaller ones as they are
        return states * (numbers + 4 * -(-numbers // 256))
    return states * numbers * (4 if "8bit" in name else parameter.element_size())


def _build(config: RunConfig, model_config: FlyThinkerConfig) -> PreTrainedModel:
    """The model as a run trains it, on the meta device."""
    for part in (model_config.generator_config, model_config.reasoner_config):
        if part is not None:
            part._attn_implementation = _ATTENTION
    dtype = getattr(torch, config.model.dtype)
    with torch.device("meta"):
        model: Any = FlyThinkerForCausalLM._from_config(model_config, dtype=dtype)
        if config.model.quantization is not None:
            quantize(model, config.model.quantization)
        if config.lora is not None:
            model = with_adapters(model, config.lora)
    freeze(model, config.training)
    if config.training.gradient_checkpointing:
        checkpoint_activations(model)
    return model.train()


def _place(model: nn.Module) -> None:
    """Give a model on the meta device tensors that have a device: where autocast knows it."""
    placed: dict[Tensor, Tensor] = {}  # a table that two modules share stays one

    def on_cpu(tensor: Tensor) -> Any:
        if tensor not in placed:
            new = torch.empty(tensor.shape, dtype=tensor.dtype)
            if isinstance(tensor, nn.Parameter):
                new = nn.Parameter(new, requires_grad=tensor.requires_grad)
                new.__dict__.update(vars(tensor))
            placed[tensor] = new
        return placed[tensor]

    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = on_cpu(tensor)


def _pass(model: Any, ids: Tensor, targets: int, bf16: bool, live: LiveBytes) -> tuple[int, int]:
    """Forward and backward; bytes alive before the loss, and what the loss took at most."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = base.get_output_embeddings()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        hidden = base.backbone(ids).last_hidden_state
        before = live.now
        peak, live.peak = live.peak, live.now
        hidden = hidden[:, -targets - 1 : -1].reshape(-1, hidden.shape[-1])
        wanted = torch.zeros(len(hidden), dtype=torch.int64)
        if can_be_chunked(base.generator):
            loss = summed_cross_entropy(hidden, head.weight, wanted)
        else:
            loss = nn.functional.cross_entropy(head(hidden).float(), wanted)
        after = live.peak - before
        live.peak = max(peak, live.peak)
    loss.backward()
    return before, after


class _NoModules(ModuleTracker):
    """Asks of no operation which module it is of.

    To know that, torch holds graph nodes to the end of the count, and with them all that
    checkpointing makes anew in the backward pass.
    """

    def __enter__(self) -> "_NoModules":
        return self

    def __exit__(self, *args: Any) -> None:
        pass


def _flop_counter() -> FlopCounterMode:
    counter = FlopCounterMode(display=False, custom_mapping=ATTENTION_FLOPS)
    counter.mod_tracker = _NoModules()
    return counter


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _numbers(parameters: dict[str, nn.Parameter]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for name, parameter in parameters.items():
        part = part_of(name)
        held = getattr(parameter, "numbers", parameter.numel())  # of a quantized weight
        numbers[part] = numbers.get(part, 0) + held
    return numbers
