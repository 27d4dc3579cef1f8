"""The work of an actor that writes with vLLM."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import AutoConfig

from flythinker.backbones.packaged import resolve_backbone
from flythinker.bulk.pool import Work
from flythinker.data.example import Example
from flythinker.data.prompt import PromptConfig, build_prompt, end_of_turn_id
from flythinker.errors import FlyThinkerError
from flythinker.generation.backends.vllm_names import vllm_settings
from flythinker.generation.sampling import Sampling
from flythinker.hardware import choose_dtype
from flythinker.model_folder import load_tokenizer, read_prompt

if TYPE_CHECKING:
    from vllm import SamplingParams


def vllm_work(model: str, sampling: Sampling, slots: int, dtype: torch.dtype | None = None) -> Work:
    """Start vLLM in an actor; returns what writes one shard of numbered examples.

    In the folder's own type, if `dtype` is `None` and a CPU can (see `choose_dtype`): vLLM would
    turn float32 into bfloat16, and write other texts.

    Raises:
        FlyThinkerError: vLLM is not installed.
    """
    try:
        from vllm import LLM
        from vllm.platforms import current_platform
    except ModuleNotFoundError:
        raise FlyThinkerError(
            "vLLM is not installed: run `pip install '.[vllm]'` in FlyThinker's checkout"
        ) from None
    path = resolve_backbone(model)
    saved = AutoConfig.from_pretrained(path).dtype
    if current_platform.is_cpu():  # a GPU must not be asked before vLLM forks
        dtype = choose_dtype(saved, dtype, model)
    llm = LLM(
        path,
        dtype=dtype or saved or "auto",
        max_num_seqs=slots,
        # a prompt in chunks and a seed end vLLM's engine on the CPU
        enable_chunked_prefill=not current_platform.is_cpu(),
    )
    tokenizer = load_tokenizer(path)
    prompt_config = read_prompt(path) or PromptConfig()
    end = end_of_turn_id(tokenizer)

    def write(shard: Sequence[tuple[int, Example]]) -> list[str]:
        prompts = [build_prompt(example, tokenizer, prompt_config) for _, example in shard]
        answers = llm.generate(
            [{"prompt_token_ids": prompt.prompt_ids} for prompt in prompts],
            [_params(sampling.for_text(index), end) for index, _ in shard],
            use_tqdm=False,
        )
        written = [answer.outputs[0].token_ids for answer in answers]
        return [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in written]

    return write


def _params(sampling: Sampling, end: int) -> "SamplingParams":
    from vllm import SamplingParams

    settings = vllm_settings(sampling) | {
        "ignore_eos": True,  # of the model's files; texts end where the chat's turns do
        "stop_token_ids": sampling.ends(end),
    }
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_new_tokens,
        seed=sampling.seed,
        **settings,
    )
