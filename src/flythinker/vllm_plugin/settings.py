"""What of a model and of vLLM's settings does not go together, said before anything loads."""

from pathlib import Path

from transformers import PreTrainedConfig
from vllm.config import VllmConfig
from vllm.model_executor.models.config import VerifyAndUpdateConfig

from flythinker.errors import FlyThinkerError
from flythinker.model import FlyThinkerConfig
from flythinker.model.fusion import needs_prompt_length
from flythinker.model_folder import read_prompt

FAMILIES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}
"""`model_type` of a part → how vLLM's classes of it begin, in the module of that name."""


class FlyThinkerSettings(VerifyAndUpdateConfig):
    """vLLM's hook for one architecture; runs once, in the process that was started."""

    @staticmethod
    def verify_and_update_config(vllm_config: VllmConfig) -> None:
        """Refuse what cannot be served exactly; ask for the prompts' lengths where they matter.

        Raises:
            FlyThinkerError: a part of another family; prompts that are no tokens; a text longer
                than the Reasoner can read; a Reasoner with a prompt of its own; an injection with
                which cached prefixes differ.
        """
        config = vllm_config.model_config.hf_config
        if vllm_config.model_config.enable_prompt_embeds:
            raise FlyThinkerError(
                "thoughts are made from tokens, not embeddings: start without "
                "--enable-prompt-embeds"
            )
        _check_family("Generator", config.generator_config)
        if not config.fusion_weight:
            return
        _check_family("Reasoner", config.reasoner_config)
        longest = config.reasoner_config.max_position_embeddings
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
        if needs_prompt_length(config.injection):
            _ask_for_prompt_lengths(config, vllm_config)


def _check_family(part: str, config: PreTrainedConfig) -> None:
    if config.model_type not in FAMILIES:
        raise FlyThinkerError(
            f"the {part} is a {config.model_type}; with vLLM it may be one of "
            f"{', '.join(FAMILIES)}: use `flythinker serve` without vLLM"
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
