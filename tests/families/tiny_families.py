"""A tiny random model of every decoder-only family that the installed transformers knows.

Families come from transformers' own mapping, sizes from the names of a config's fields: a family
that comes with the next version of transformers is in the table without a line here.
"""

import dataclasses
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from tiny import EOS, PAD, VOCAB

LAYERS = 4
WINDOW = 6  # shorter than every text of the checks

# what a field with one of these names, or with a name that ends so, becomes
_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "unpadded_vocab_size": VOCAB,
    "vocab_size_per_layer_input": VOCAB,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 0,
    "pad_token_id": PAD,
    "bos_token_id": EOS,
    "eos_token_id": EOS,
    "initializer_range": 0.2,
    "initializer_std": 0.2,
    "init_std": 0.2,
    # widths
    "hidden_size": 32,
    "n_embd": 32,
    "d_model": 32,
    "embed_dim": 32,
    "word_embed_proj_dim": 32,
    "dim_model": 32,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "ffn_hidden_size": 48,
    "n_inner": 48,
    "dim_ff": 48,
    "lru_width": 32,
    # depth
    "num_hidden_layers": LAYERS,
    "n_layer": LAYERS,
    "n_layers": LAYERS,
    "num_layers": LAYERS,
    # heads
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_heads": 4,
    "num_key_value_heads": 2,
    "num_kv_heads": 2,
    "head_dim": 8,
    "kv_channels": 8,
    "attention_hidden_size": 32,
    "attention_head_dim": 16,
    "dim_head": 8,
    "rotary_dim": 4,
    # latent attention
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    # lengths
    "max_position_embeddings": 128,
    "n_positions": 128,
    "n_ctx": 128,
    "max_seq_len": 128,
    "sliding_window": WINDOW,
    "sliding_window_size": WINDOW,
    "window_size": WINDOW,
    "attention_window_size": WINDOW,
    "attention_chunk_size": 8,
    # experts
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_topk": 2,
    "moe_top_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "n_shared_experts": 1,
    "moe_k": 2,
    "zero_expert_num": 2,
    # states
    "mamba_d_state": 8,
    "state_size": 8,
    "ssm_state_size": 8,
    "mamba_d_ssm": 64,
    "mamba_n_heads": 4,
    "mamba_num_heads": 4,
    "n_mamba_heads": 2,
    "mamba_d_head": 16,
    "mamba_head_dim": 16,
    "mamba_headdim": 16,
    "n_groups": 1,
    "mamba_ngroups": 1,
    "mamba_n_groups": 1,
    "mamba_dt_rank": 4,
    "time_step_rank": 4,
    "chunk_size": 8,
    "mamba_chunk_size": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    # indexers
    "index_topk": 4,
    "index_n_heads": 2,
    "index_head_dim": 16,
    "conv_dim": 32,
    "block_size": 8,
    # an attention layer among the others
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "attn_layer_indices": [1, 3],
    "layer_group_size": 2,
}
_DROPOUTS = ("dropout", "pdrop", "dropout_rate", "dropout_prob")

# where a family needs numbers that go together
_HYBRID = ["linear_attention", "full_attention"] * (LAYERS // 2)
_OVERRIDES: dict[str, dict[str, Any]] = {
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "cohere_compass_text": {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0}
            for kind in ("full_attention", "sliding_attention")
        }
    },
    "dots3_note_text": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 16,
        "swa_kv_lora_rank": 16,
        "swa_head_dim": 16,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], LAYERS // 2]]},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
        "ngram_vocab_size_base": 97,
        "split_ngram_parts": 1,
    },
    "zamba": {
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid", "hybrid"],
        "attention_hidden_size": 64,
    },
    "zaya": {"num_experts_per_tok": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
    "mamba2": {"num_heads": 4, "head_dim": 16},
    "granitemoehybrid": {"layer_types": _HYBRID},
    "kimi_linear": {"layer_types": _HYBRID},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * (LAYERS // 2)},
}


class Unbuildable(Exception):
    """A family that the generic sizes do not fit; the message says why."""


def families() -> list[str]:
    """Decoder-only families of transformers: all of its causal LMs but those `left_out`."""
    return [name for name in CONFIG_MAPPING if is_causal(name) and left_out(name) is None]


def is_causal(name: str) -> bool:
    """Whether transformers has a causal LM of that type."""
    return CONFIG_MAPPING[name] in MODEL_FOR_CAUSAL_LM_MAPPING


def left_out(name: str) -> str | None:
    """Why a causal LM of transformers is no row of the table; `None` for one that is."""
    config_class = CONFIG_MAPPING[name]
    fields = {field.name: field.default for field in dataclasses.fields(config_class)}
    if config_class.model_type != name:
        return f"another name of {config_class.model_type}"
    if fields.get("is_encoder_decoder") or "decoder_layers" in fields:
        return "encoder-decoder"
    reads_both_ways = (
        config_class in MODEL_FOR_MASKED_LM_MAPPING or fields.get("add_cross_attention") is False
    )
    if reads_both_ways and fields.get("is_decoder") is False:
        return "encoder"
    if any(map(_is_model, config_class.sub_configs.values())):
        return "several models in one"
    return None


def _is_model(config_class: type) -> bool:
    """Whether a config inside another one is that of a whole model."""
    names = {*dir(config_class), *getattr(config_class, "attribute_map", {})}
    return config_class is AutoConfig or "num_hidden_layers" in names


def tiny_config(name: str) -> PreTrainedConfig:
    """The config of a family with tiny sizes."""
    config_class = CONFIG_MAPPING[name]
    sizes: dict[str, Any] = {}
    for field in dataclasses.fields(config_class):
        if field.name in _SIZES:
            sizes[field.name] = _SIZES[field.name]
        elif field.name.endswith("intermediate_size"):
            sizes[field.name] = 48
        elif field.name.endswith(_DROPOUTS):
            sizes[field.name] = 0.0
    if "kv_lora_rank" in sizes:  # latent attention makes keys of every query head
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    return AutoConfig.for_model(name, **sizes | _OVERRIDES.get(name, {}))


def tiny_parts(name: str) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A Generator and a Reasoner of one family.

    Raises:
        Unbuildable: its config or its model refuses the sizes.
    """
    try:
        torch.manual_seed(0)
        generator = AutoModelForCausalLM.from_config(tiny_config(name)).eval()
        torch.manual_seed(1)
        return generator, AutoModel.from_config(tiny_config(name)).eval()
    except Exception as error:
        raise Unbuildable(f"{type(error).__name__}: {error}".partition("\n")[0]) from error
