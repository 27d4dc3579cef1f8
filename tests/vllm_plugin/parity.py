"""Tiny models whose thoughts matter, what transformers writes with them, and what vLLM writes."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForCausalLM, PreTrainedConfig

from flythinker import FlyThinkerForCausalLM
from tiny import EOS, PAD

VOCAB = 130  # no multiple of what vLLM pads tables to


def config(family: str, width: int, **settings: Any) -> PreTrainedConfig:
    """As those of `tiny`, with heads as wide as vLLM's kernels for the CPU need them."""
    return CONFIG_MAPPING[family](
        **{
            "vocab_size": VOCAB,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "max_position_embeddings": 256,
            "initializer_range": 0.2,
            "pad_token_id": PAD,
            "bos_token_id": EOS,
            "eos_token_id": EOS,
            "tie_word_embeddings": True,
            **settings,
        }
    )


def model(
    generator: PreTrainedConfig, reasoner: PreTrainedConfig, **settings: Any
) -> FlyThinkerForCausalLM:
    """A random FlyThinker model; a linear map gets random weights in place of zeros."""
    torch.manual_seed(0)
    made = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        AutoModelForCausalLM.from_config(generator).eval(),
        AutoModel.from_config(reasoner).eval(),
        **settings,
    )
    if made.projection is not None:
        nn.init.normal_(made.projection.weight, std=reasoner.hidden_size**-0.5)
    return made


def prompts(*lengths: int, seed: int = 0) -> list[list[int]]:
    """Random token ids without padding and end tokens."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(2, VOCAB, (length,), generator=draw).tolist() for length in lengths]


def greedy(model: FlyThinkerForCausalLM, prompt: list[int], tokens: int, **how: Any) -> list[int]:
    """What transformers writes, without the prompt."""
    ids = torch.tensor([prompt])
    length = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    return model.generate(ids, do_sample=False, **length, **how)[0, len(prompt) :].tolist()


def write(
    llm: Any, prompts: list[list[int]], tokens: int, adapters: Any = None, **sampling: Any
) -> list[Any]:
    """vLLM's outputs; greedy unless `sampling` says otherwise.

    `adapters` are requests of vLLM's for them, `None` or one (or `None`) a prompt.
    """
    from vllm import SamplingParams

    how = SamplingParams(
        **{
            "temperature": 0,
            "max_tokens": tokens,
            "min_tokens": tokens,
            "logprobs": 3,
            "detokenize": False,
            **sampling,
        }
    )
    texts = [{"prompt_token_ids": ids} for ids in prompts]
    return llm.generate(texts, how, use_tqdm=False, lora_request=adapters)


def written(outputs: list[Any]) -> list[list[int]]:
    """The tokens of outputs with one text each."""
    return [list(output.outputs[0].token_ids) for output in outputs]


@torch.no_grad()
def largest_difference(model: FlyThinkerForCausalLM, output: Any) -> float:
    """Between vLLM's log-probabilities of its tokens and those of transformers' one full pass."""
    differences = []
    for text in output.outputs:
        ids = torch.tensor([[*output.prompt_token_ids, *text.token_ids]])
        start = torch.tensor([len(output.prompt_token_ids)])
        expected: Tensor = model(ids, prompt_length=start).logits[0, start - 1 : -1].log_softmax(-1)
        for row, likely in zip(expected, text.logprobs, strict=True):
            differences += [abs(row[token] - said.logprob) for token, said in likely.items()]
    return max(differences).item()


def preemptions(llm: Any) -> int:
    """How often vLLM has thrown a text out of the cache, since it was started."""
    return next(m.value for m in llm.get_metrics() if m.name == "vllm:num_preemptions")
