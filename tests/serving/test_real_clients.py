"""What real clients send, as seen in bug reports of other servers."""

import httpx
import pytest
from openai.types.chat import ChatCompletionMessage
from serving_app import client

from flythinker.serving.api.schemas import ChatRequest, CompletionRequest

ASKED = {"role": "user", "content": "Write about the navy."}


def chat(url: str, messages: list, **fields) -> httpx.Response:
    body = {"model": "tiny", "messages": messages, "max_tokens": 3} | fields
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)


def test_an_answer_is_taken_back_for_a_second_turn(url):
    create = client(url).chat.completions.create
    said = create(model="tiny", messages=[ASKED], max_tokens=5).choices[0].message
    whole = dict.fromkeys(ChatCompletionMessage.model_fields) | said.model_dump()
    for message in (said, said.model_dump(), whole | {"annotations": []}):
        # a random model may draw an end first
        again = create(
            model="tiny",
            messages=[ASKED, message, ASKED],
            max_tokens=5,
            extra_body={"ignore_eos": True},
        )
        assert again.usage.completion_tokens > 0


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "refusal": None, "tool_calls": None, "function_call": None},
        {"content": None, "refusal": "I would rather not."},
        {"content": [{"type": "text", "text": "Calm."}], "audio": None, "annotations": []},
        {"content": "Calm.", "annotations": [{"type": "url_citation"}], "tool_calls": []},
        {},
    ],
    ids=str,
)
def test_what_other_servers_answered_is_taken_too(url, message):
    assert chat(url, [ASKED, {"role": "assistant"} | message, ASKED]).status_code == 200


@pytest.mark.parametrize("request_type", [ChatRequest, CompletionRequest])
def test_null_is_as_if_it_were_not_there(request_type):
    required = {"model": "tiny"}
    required |= {"messages": [ASKED]} if request_type is ChatRequest else {"prompt": "Go."}
    optional = {*request_type.model_fields, "audio", "prediction", "web_search_options"}
    nulls = dict.fromkeys(optional - required.keys())
    assert request_type.model_validate(required | nulls) == request_type.model_validate(required)


IMAGE = [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "x"}}]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"stop": [""]}, "stop[0]", "at least 1 character"),
        ({"stop": ["a"] * 5}, "stop", "at most 4"),
        ({"stop": ""}, "stop", "at least 1 character"),
        ({"user": ""}, "user", "1 to 200 characters"),
        ({"user": "a/b"}, "user", "none of them '/'"),
        ({"user": "a\0b"}, "user", "control character"),
        ({"stop": "a\0"}, "stop", "NUL"),
        ({"audio": {"voice": "x"}}, "audio", "leave it out"),
        ({"messages": [{"role": "user", "content": IMAGE}]}, "messages[0].content[1]", "only text"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0]", "content is missing"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "'assistant'"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_words(url, fields, param, words):
    answer = chat(url, [ASKED], **fields) if "messages" not in fields else chat(url, **fields)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["param"] == param
    assert words in error["message"]
    assert "pattern" not in error["message"]
    assert "Value error" not in error["message"]


SETTINGS = {
    "presence_penalty": -2,
    "frequency_penalty": -2,
    "logit_bias": {"5": 3, "9": -100},
    "repetition_penalty": 0.3,
    "top_k": 40,
    "min_p": 0.01,
    "min_tokens": 40,
    "ignore_eos": True,
    "stop_token_ids": [11, 12],
}


def test_each_setting_reaches_the_text(url):
    asked = {"seed": 3, "temperature": 1.5, "max_tokens": 40}
    plain = chat(url, [ASKED], **asked).json()["choices"][0]["message"]["content"]
    for name in ("presence_penalty", "frequency_penalty", "logit_bias", "repetition_penalty"):
        answer = chat(url, [ASKED], **asked, **{name: SETTINGS[name]})
        assert answer.json()["choices"][0]["message"]["content"] != plain, name
    assert chat(url, [ASKED], **asked, **SETTINGS).json()["usage"]["completion_tokens"] == 40


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"min_tokens": 50, "max_tokens": 5}, "min_tokens"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(url, fields, param):
    answer = chat(url, [ASKED], **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_the_bytes_of_an_emojis_tokens_are_the_text(url, tiny):
    """Drawn where a bias leaves nothing else."""
    emoji = "\U0001f469\u200d\U0001f467 é"
    pieces = tiny.tokenizer(emoji, add_special_tokens=False)["input_ids"]
    asked = {"logit_bias": dict.fromkeys(map(str, pieces), 100), "max_tokens": 40, "seed": 1}
    asked |= {"temperature": 2, "top_p": 1}
    answer = chat(url, [ASKED], **asked, logprobs=True, top_logprobs=3).json()["choices"][0]
    tokens = answer["logprobs"]["content"]
    assert any(token["token"].startswith("\\x") for token in tokens)
    assert "\ufffd" not in "".join(token["token"] for token in tokens)
    written = b"".join(bytes(token["bytes"]) for token in tokens).decode(errors="replace")
    assert written == answer["message"]["content"]
    body = {"model": "tiny", "prompt": ASKED["content"], "logprobs": 0} | asked
    shown = httpx.post(f"{url}/v1/completions", json=body, timeout=60).json()["choices"][0]
    assert shown["text"] == written
    assert shown["logprobs"]["tokens"] == [token["token"] for token in tokens]
    offsets = shown["logprobs"]["text_offset"]
    assert offsets[0] == 0
    assert offsets == sorted(offsets)
