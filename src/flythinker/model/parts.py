"""The two parts: loading them, cutting the Reasoner short, comparing their vocabularies."""

import copy
import sys
from inspect import signature
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)

from flythinker.backbones.packaged import resolve_backbone
from flythinker.model.cache import CACHE_NAME


def load_parts(
    generator: str | PreTrainedModel,
    reasoner: str | PreTrainedModel | None,
    reasoner_layers: int | None = None,
    device_map: Any = None,
    **kwargs: Any,
) -> tuple[PreTrainedModel, PreTrainedModel | None]:
    """Both parts, of families that can be joined and with one vocabulary.

    Args:
        generator: see `load_generator`.
        reasoner: see `load_reasoner`; `None`: no second part.
        reasoner_layers: keep only the first N layers of the Reasoner.
        device_map: of both, or {"generator": …, "reasoner": …}.
        kwargs: passed to `from_pretrained` of both.

    Raises:
        ValueError: what `load_reasoner`, `check_family` and `check_same_vocabulary` raise, or one
            loaded model that would be both parts.
    """
    devices = device_map
    if not isinstance(devices, dict):
        devices = {"generator": devices, "reasoner": devices}
    written_by = load_generator(generator, device_map=devices["generator"], **kwargs)
    check_family(written_by)
    if reasoner is None:
        return written_by, None
    if generator is reasoner and reasoner_layers is None and written_by is generator:
        raise ValueError(
            "Generator and Reasoner are one and the same loaded model: "
            "give a second copy, a name, or reasoner_layers"
        )
    thought_by = load_reasoner(reasoner, reasoner_layers, device_map=devices["reasoner"], **kwargs)
    check_family(thought_by)
    sizes = written_by.config.vocab_size, thought_by.config.vocab_size
    check_same_vocabulary(generator, reasoner, *sizes)
    return written_by, thought_by


def load_generator(source: str | PreTrainedModel, **kwargs: Any) -> PreTrainedModel:
    """The Generator: a causal LM with its head, from a name, a folder or as it is given.

    Args:
        source: hub name, local folder, `"smollm2-135m"` or a loaded model.
        kwargs: passed to `from_pretrained` (`dtype`, `device_map`, `attn_implementation`, …).
    """
    if isinstance(source, PreTrainedModel):
        return source
    return text_model(AutoModelForCausalLM.from_pretrained(resolve_backbone(source), **kwargs))


def text_model(model: PreTrainedModel) -> PreTrainedModel:
    """What writes in a model that also sees, such as Gemma 3 4B; any other is returned as it is."""
    config = model.config.get_text_config(decoder=True)
    if config is model.config:
        return model
    with torch.device("meta"):
        text = AutoModelForCausalLM.from_config(config)
    setattr(text, text.base_model_prefix, model.get_decoder())
    text.set_output_embeddings(model.get_output_embeddings())
    text.generation_config = model.generation_config
    return text


def load_reasoner(
    source: str | PreTrainedModel, layers: int | None = None, **kwargs: Any
) -> PreTrainedModel:
    """The Reasoner: a backbone without head, its last hidden state after the final norm.

    Args:
        source: hub name, local folder, `"smollm2-135m"` or a loaded model (with or without head;
            its weights are copied only if `layers` cuts it).
        layers: keep only the first `layers` layers.
        kwargs: passed to `from_pretrained`.

    Raises:
        ValueError: `layers` is not between 1 and the number of layers.
    """
    if isinstance(source, PreTrainedModel):
        backbone = backbone_of(source)
    else:
        path = resolve_backbone(source)
        if layers is not None and "quantization_config" in kwargs:  # rounded, it cannot be cut
            kwargs["config"] = first_layers(AutoConfig.from_pretrained(path), layers)
            layers = None
        backbone = AutoModel.from_pretrained(path, **kwargs)
    if layers is None:
        return backbone
    # made in its dtype: a later cast would also round float32 buffers (rotary frequencies)
    cut = AutoModel.from_config(first_layers(backbone.config, layers), dtype=backbone.dtype)
    cut.load_state_dict(backbone.state_dict(), strict=False)
    return cut.to(device=backbone.device)


def backbone_of(part: PreTrainedModel) -> PreTrainedModel:
    """A part without its head."""
    if part.base_model is part and part.get_output_embeddings() is not None:
        return part.model  # Llama 4 says that it is called otherwise
    return part.base_model


def check_family(part: PreTrainedModel) -> None:
    """Thoughts enter embeddings and texts go on from a cache: a part must know both.

    Raises:
        ValueError: naming what the part's family does not know.
    """
    backbone = backbone_of(part)
    known = signature(backbone.forward).parameters
    reading_tokens = [
        name
        for name, module in backbone.named_modules()
        if not isinstance(module, PreTrainedModel)
        and module is not backbone.get_input_embeddings()
        and "input_ids" in (takes := signature(module.forward).parameters)
        and "inputs_embeds" not in takes
    ]
    keeping_states = [
        f"{name}.{kept}"
        for name, module in backbone.named_modules()
        for kept, value in vars(module).items()
        if kept.endswith(("_state", "_states"))
        and (value is None or isinstance(value, torch.Tensor))
    ]
    code = vars(sys.modules[type(backbone).__module__])
    own_caches = [
        name
        for name, kind in code.items()
        if name.endswith("Cache") and getattr(kind, "__module__", "") == code["__name__"]
    ]
    if "inputs_embeds" not in known:
        why = "it reads tokens, not embeddings, so that no thought can enter"
    elif reading_tokens or getattr(part.config, "hidden_size_per_layer_input", None):
        where = next(iter(reading_tokens), "each layer")
        why = f"{where} reads tokens beside the embeddings that thoughts enter"
    elif CACHE_NAME not in known:
        why = "it has no cache of the kind that transformers' `generate` keeps"
    elif keeping_states:
        why = f"it keeps what it has read in itself, {keeping_states[0]}, so one text at a time"
    elif own_caches:
        why = f"it keeps what it has read in a cache of its own, {own_caches[0]}"
    else:
        return
    raise ValueError(f"{type(part).__name__} can be no part of a FlyThinker model: {why}")


def first_layers(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    """A copy of `config` with only its first `layers` layers."""
    if not 1 <= layers <= config.num_hidden_layers:
        raise ValueError(
            f"reasoner_layers is {layers}; this Reasoner has {config.num_hidden_layers} layers: "
            f"choose 1 to {config.num_hidden_layers}"
        )
    config = copy.deepcopy(config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    return config


def check_same_vocabulary(
    generator: str | PreTrainedModel,
    reasoner: str | PreTrainedModel,
    generator_size: int,
    reasoner_size: int,
) -> None:
    """Both parts read the same token ids, so both must have the same tokenizer.

    Embedding tables may be padded to different sizes (Qwen2.5 7B and 1.5B are) as long as the
    tokenizers agree; where a tokenizer cannot be had, the sizes must be equal.

    Raises:
        ValueError: naming what differs.
    """
    if generator is reasoner or generator == reasoner:
        return
    first, second = _vocabulary(generator), _vocabulary(reasoner)
    if first is None or second is None:
        if generator_size != reasoner_size:
            raise ValueError(
                f"Generator and Reasoner must share one vocabulary: the Generator's has "
                f"{generator_size} entries, the Reasoner's {reasoner_size}. Choose a Reasoner of "
                "the same family, or give folders or names with tokenizers that can be compared"
            )
        return
    if first == second:
        return
    differing = sorted(
        token for token in first.keys() | second.keys() if first.get(token) != second.get(token)
    )
    token = differing[0]
    raise ValueError(
        f"Generator and Reasoner must share one tokenizer: {len(differing)} tokens differ "
        f"({len(first)} against {len(second)} entries), such as {token!r} (id {first.get(token)} "
        f"against {second.get(token)}). Choose a Reasoner of the same family"
    )


def check_same_table(generator: PreTrainedModel, reasoner: PreTrainedModel) -> None:
    """Only parts that start with the same embedding table can go on with one.

    Raises:
        ValueError: the tables differ.
    """
    first, second = (part.get_input_embeddings().weight for part in (generator, reasoner))
    if not torch.equal(first, second.to(first.device)):
        raise ValueError(
            "share_embeddings: the embedding tables of Generator and Reasoner differ; leave it "
            "out, or take both from one model"
        )


def table_name(prefix: str, part: PreTrainedModel) -> str:
    """The parameter name of a part's embedding table."""
    table = part.get_input_embeddings().weight
    return next(f"{prefix}.{name}" for name, weight in part.named_parameters() if weight is table)


def _vocabulary(source: str | PreTrainedModel) -> dict[str, int] | None:
    name = source.config._name_or_path if isinstance(source, PreTrainedModel) else source
    try:
        return AutoTokenizer.from_pretrained(resolve_backbone(name)).get_vocab() if name else None
    except (OSError, ValueError, KeyError):  # a folder or a name without a tokenizer
        return None
