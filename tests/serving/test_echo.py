"""`echo`: the prompt as it is, its log-probabilities, and what lm-eval makes of them."""

import httpx
import pytest
from serving_app import client

TEXT = "The sea was calm – “naïve” \U0001f469\u200d\U0001f467 日本."


def complete(url: str, **fields):
    body = {"model": "tiny", "temperature": 0, "max_tokens": 6, "echo": True} | fields
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_text_begins_with_the_prompt(url, tiny):
    ids = tiny.tokenizer(TEXT)["input_ids"]
    (written,) = complete(url, prompt=ids, echo=False)["choices"]
    for prompt in (TEXT, ids):
        (choice,) = complete(url, prompt=prompt)["choices"]
        assert choice["text"] == TEXT + written["text"]
        assert choice["logprobs"] is None


def test_log_probabilities_begin_with_the_prompts(url, tiny):
    ids = tiny.tokenizer(TEXT)["input_ids"]
    for prompt in (TEXT, ids):
        answer = complete(url, prompt=prompt, logprobs=1)
        (choice,) = answer["choices"]
        shown = choice["logprobs"]
        assert len(shown["tokens"]) == len(ids) + 6
        assert shown["token_logprobs"][0] is shown["top_logprobs"][0] is None
        assert all(logprob <= 0 for logprob in shown["token_logprobs"][1:])
        assert shown["text_offset"][:2] == [0, len(shown["tokens"][0])]
        assert choice["text"].startswith(TEXT)
        assert answer["usage"]["completion_tokens"] == 6


def test_a_stream_is_the_whole(url):
    asked = {"model": "tiny", "prompt": TEXT, "temperature": 0, "max_tokens": 6}
    asked |= {"echo": True, "logprobs": 1}
    create = client(url).completions.create
    whole = create(**asked).choices[0]
    pieces = [chunk.choices[0] for chunk in create(**asked, stream=True)]
    assert "".join(piece.text for piece in pieces) == whole.text
    streamed = [token for piece in pieces for token in piece.logprobs.tokens]
    assert streamed == whole.logprobs.tokens
    offsets = [offset for piece in pieces for offset in piece.logprobs.text_offset]
    assert offsets == whole.logprobs.text_offset


def test_nothing_but_the_prompt(url):
    answer = complete(url, prompt=TEXT, max_tokens=0, logprobs=0)
    assert answer["choices"][0]["text"] == TEXT
    assert answer["usage"]["completion_tokens"] == 0
    body = {"model": "tiny", "prompt": TEXT, "max_tokens": 0}
    assert httpx.post(f"{url}/v1/completions", json=body, timeout=60).status_code == 400


def test_a_continuation_is_as_likely_as_lm_eval_reads_it(url, tiny):
    """Its `parse_logprobs`: what is between the context and the one token that is written."""
    context = tiny.tokenizer(TEXT)["input_ids"]
    body = {"max_tokens": 1, "logprobs": 1, "seed": 1234}
    written = complete(url, prompt=context, return_token_ids=True, **body)["choices"][0]
    greedy = written["token_ids"]
    (choice,) = complete(url, prompt=[context + greedy], **body)["choices"]
    (logprob,) = choice["logprobs"]["token_logprobs"][len(context) : -1]
    (top,) = choice["logprobs"]["top_logprobs"][len(context) : -1]
    assert logprob == max(top.values())
    assert logprob == pytest.approx(written["logprobs"]["token_logprobs"][-1], abs=1e-4)
