"""What of a model and of vLLM's settings does not go together, said before anything loads."""

import logging
from pathlib import Path

from transformers import PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from vllm import ModelRegistry
from vllm.config import VllmConfig
from vllm.model_executor.models.config import VerifyAndUpdateConfig

from flythinker.errors import FlyThinkerError
from flythinker.model import FlyThinkerConfig
from flythinker.model.config import context_length
from flythinker.model.fusion import needs_prompt_length
from flythinker.model_folder import read_prompt

logger = logging.getLogger(__name__)

COMPARED = {
    *("llama", "qwen2", "qwen3", "qwen3_moe", "mistral", "mixtral"),
    *("gemma2", "gemma3_text", "gpt_oss", "granite", "phi3"),
}
"""Families whose texts are those of transformers, see tests/vllm_plugin."""


class FlyThinkerSettings(VerifyAndUpdateConfig):
    """vLLM's hook for one architecture; runs once, in the process that was started."""

    @staticmethod
    def verify_and_update_config(vllm_config: VllmConfig) -> None:
        """Refuse what cannot be served exactly; ask for the prompts' lengths where they matter.

        Raises:
            FlyThinkerError: a part of another family; rounded weights; prompts that are no
                tokens; a text longer than the Reasoner can read; a Reasoner with a prompt of its
                own; an injection with which cached prefixes differ.
        """
        config = vllm_config.model_config.hf_config
        if vllm_config.model_config.enable_prompt_embeds:
            raise FlyThinkerError(
                "thoughts are made from tokens, not embeddings: start without "
                "--enable-prompt-embeds"
            )
        if (rounded := vllm_config.model_config.quantization) is not None:
            raise FlyThinkerError(
                f"weights in {rounded}: nobody has seen whether the Generator and the Reasoner are "
                "then what they are without vLLM: serve the folder in full precision, or use "
                "`flythinker serve --quantization nf4` without vLLM"
            )
        _check_family("Generator", config.generator_config)
        if not config.fusion_weight:
            return
        _check_family("Reasoner", config.reasoner_config)
        longest = context_length(config.reasoner_config)
        if vllm_config.model_config.max_model_len > longest:
            raise FlyThinkerError(
                f"the Reasoner reads up to {longest} tokens, the Generator "
                f"{vllm_config.model_config.max_model_len}: start with --max-model-len {longest}"
            )
        prompt = read_prompt(Path(vllm_config.model_config.model))
        if prompt is not None and prompt.reasoner_k is not None:
            raise FlyThinkerError(
                "this model's Reasoner reads a prompt of its own (prompt.reasoner_k), for which "
                "vLLM's requests have no place: use `flythinker serve` without vLLM"
            )
        # thoughts live and die with the keys and values, so all layers keep those of all tokens
        vllm_config.scheduler_config.disable_hybrid_kv_cache_manager = True
        if needs_prompt_length(config.injection):
            _ask_for_prompt_lengths(config, vllm_config)


def _check_family(part: str, config: PreTrainedConfig) -> None:
    """vLLM must have a class of the part's own, which keeps nothing but keys and values."""
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type, "")
    known = ModelRegistry.models.get(architecture)
    if known is None:
        why = "vLLM has no class for it"
    else:
        info = known.inspect_model_cls()
        if not info.has_inner_state and not info.is_attention_free:
            if config.model_type not in COMPARED:
                logger.warning(
                    "the %s is a %s: nobody has compared what vLLM writes with it with what "
                    "transformers writes",
                    part,
                    config.model_type,
                )
            return
        why = "its layers keep more than keys and values"
    raise FlyThinkerError(
        f"the {part} is a {config.model_type}, which cannot be a part with vLLM: {why}; "
        "use `flythinker serve` without vLLM"
    )


def _ask_for_prompt_lengths(config: FlyThinkerConfig, vllm_config: VllmConfig) -> None:
    """Make vLLM tell where each prompt ends, which decides what thoughts enter.

    It does so for models with a reference sliding window (all of the prompt stays visible, and the
    window after it); one as long as the longest text hides nothing.
    """
    if vllm_config.cache_config.enable_prefix_caching:
        raise FlyThinkerError(
            f'injection="{config.injection}": the same tokens have other states in an answer than '
            "in a prompt, which vLLM's prefix cache cannot tell apart: start with "
            "--no-enable-prefix-caching"
        )
    vllm_config.model_config.model_arch_config.rswa_window = vllm_config.model_config.max_model_len
