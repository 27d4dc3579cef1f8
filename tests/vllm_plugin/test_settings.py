"""What cannot be served exactly is refused in one line, before anything is loaded."""

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from pathlib import Path
from typing import Any

from parity import VOCAB, config, model
from transformers import CodeGenConfig, Lfm2Config, PreTrainedConfig

from flythinker import FlyThinkerForCausalLM

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def _refusal(folder: Path, ours: FlyThinkerForCausalLM, **settings: Any) -> str:
    from vllm.engine.arg_utils import EngineArgs

    ours.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"Reasoner|Generator|injection|tokens") as error:
        EngineArgs(str(folder), skip_tokenizer_init=True, **settings).create_engine_config()
    return str(error.value)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (
            Lfm2Config(
                vocab_size=VOCAB,
                num_hidden_layers=2,
                layer_types=["conv", "full_attention"],
                **SIZES,
            ),
            "its layers keep more",
        ),
        (
            CodeGenConfig(vocab_size=VOCAB, n_embd=64, n_layer=2, n_head=4),
            "vLLM has no class for it",
        ),
    ],
)
def test_a_family_that_cannot_be_a_part(part: PreTrainedConfig, why: str, tmp_path: Path) -> None:
    said = _refusal(tmp_path, model(part, part))
    assert f"the Generator is a {part.model_type}, which cannot be a part with vLLM: {why}" in said


def test_a_reasoner_that_reads_less_than_the_generator(tmp_path: Path) -> None:
    short = config("llama", 32, max_position_embeddings=100)
    said = _refusal(tmp_path, model(config("llama", 64), short))
    assert "reads up to 100 tokens, the Generator 256: start with --max-model-len 100" in said


def test_a_reasoner_with_its_own_prompt(tmp_path: Path) -> None:
    (tmp_path / "prompt.json").write_text('{"reasoner_k": 8}')
    assert "reasoner_k" in _refusal(tmp_path, model(config("llama", 64), config("llama", 32)))


def test_cached_prefixes_where_prompts_and_answers_differ(tmp_path: Path) -> None:
    ours = model(config("llama", 64), config("llama", 32), injection="output")
    assert "start with --no-enable-prefix-caching" in _refusal(tmp_path, ours)


def test_prompts_of_embeddings(tmp_path: Path) -> None:
    ours = model(config("llama", 64), config("llama", 32))
    said = _refusal(tmp_path, ours, enable_prompt_embeds=True)
    assert "start without --enable-prompt-embeds" in said


def test_rounded_weights(tmp_path: Path) -> None:
    ours = model(config("llama", 64), config("llama", 32))
    said = _refusal(tmp_path, ours, quantization="fp8", dtype="bfloat16")
    assert "weights in fp8: nobody has seen whether" in said
