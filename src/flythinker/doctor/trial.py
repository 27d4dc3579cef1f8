"""The main job in small: one training step and one text of a tiny random model."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel, PreTrainedTokenizerFast

from flythinker.data.prompt import Prompt, PromptConfig
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.model import FlyThinkerForCausalLM
from flythinker.model_folder import PersonalModel
from flythinker.training.run import train  # noqa: F401  # that all it needs can be imported

_VOCAB, _WIDTH, _TOKENS = 64, 64, 8


def try_main_job(device: torch.device, dtype: torch.dtype) -> None:
    """Train and write on `device` in `dtype`, with the kernels that real models get.

    Raises whatever goes wrong.
    """
    model = _model().to(device)
    ids = torch.arange(16, device=device)[None]
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        loss = model(ids, labels=ids).loss
    loss.backward()
    if not loss.isfinite():
        raise RuntimeError(f"the loss of a training step is {loss.item()}")
    model = model.to(dtype).eval().requires_grad_(False)
    writer = Writer(PersonalModel(model, _tokenizer(), PromptConfig(), {}), slots=2)
    sampling = Sampling(_TOKENS, temperature=0, min_new_tokens=_TOKENS)
    (text,) = writer.write([Prompt(list(range(2, 12)), [], ())], sampling)
    if len(text.split()) != _TOKENS:
        raise RuntimeError(f"a text of {_TOKENS} tokens came out as {text!r}")


def _model() -> FlyThinkerForCausalLM:
    config = LlamaConfig(
        vocab_size=_VOCAB,
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        eos_token_id=0,
    )
    return FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        LlamaForCausalLM(config), LlamaModel(config), projection="linear"
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {f"w{number}": number for number in range(_VOCAB)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w1"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w0")
