"""`/v1/responses` by the official client: text in, text out, nothing kept."""

import httpx
import openai
import pytest
from openai.types.responses import Response
from serving_app import client

ASKED = "Write about the navy."


def respond(url: str, input=ASKED, **options):
    options = {"temperature": 0, "max_output_tokens": 12} | options
    return client(url).responses.create(model="tiny", input=input, **options)


def chat(url: str, messages: list[dict]):
    create = client(url).chat.completions.create
    return create(model="tiny", messages=messages, temperature=0, max_tokens=12)


def test_an_answer_is_that_of_a_chat(url):
    answer = respond(url, instructions="Be brief.")
    same = chat(
        url, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASKED}]
    )
    assert answer.output_text == same.choices[0].message.content
    assert answer.usage.input_tokens == same.usage.prompt_tokens
    assert answer.usage.output_tokens == same.usage.completion_tokens
    assert answer.status == ("incomplete" if answer.usage.output_tokens == 12 else "completed")
    Response.model_validate(answer.model_dump())


def test_an_answer_is_taken_back(url):
    first = respond(url)
    asked = [{"role": "user", "content": [{"type": "input_text", "text": ASKED}]}]
    turns = [*asked, *first.output, {"role": "user", "content": "Go on."}]
    again = respond(url, turns)
    same = chat(
        url,
        [
            {"role": "user", "content": ASKED},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "Go on."},
        ],
    )
    assert again.output_text == same.choices[0].message.content


def test_a_stream_is_the_answer(url):
    whole = respond(url)
    events = list(respond(url, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events if event.type != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        f"response.{whole.status}",
    ]
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == whole.output_text == events[-1].response.output_text
    assert events[-1].response.usage == whole.usage


def test_the_clients_own_stream_helper_reads_it(url):
    text = respond(url).output_text
    stop = {"stop": text[4:7]}  # it knows no answer that was cut
    asked = {"model": "tiny", "input": ASKED, "temperature": 0, "max_output_tokens": 12}
    with client(url).responses.stream(**asked, extra_body=stop) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == text.partition(text[4:7])[0]


def test_log_probabilities(url):
    asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    answer = respond(url, **asked)
    tokens = answer.output[0].content[0].logprobs
    written = b"".join(bytes(token.bytes) for token in tokens)
    assert written.decode(errors="replace") == answer.output_text
    assert all(len(token.top_logprobs) == 2 for token in tokens)


def test_a_persons_writings_are_read(url):
    known = respond(url, user="ann").usage.input_tokens
    assert known > respond(url).usage.input_tokens
    assert respond(url, safety_identifier="ann").usage.input_tokens == known
    assert respond(url, prompt_cache_key="ann").usage.input_tokens == known
    assert respond(url, prompt_cache_key="a/b").usage.input_tokens < known


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"truncation": "auto"}, "truncation"),
        ({"extra_body": {"unheard_of": 1}}, "unheard_of"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": ""}]}, "input"),
    ],
    ids=str,
)
def test_what_is_not_done_is_refused_by_name(url, options, named):
    with pytest.raises(openai.BadRequestError) as caught:
        respond(url, **options)
    assert caught.value.param.startswith(named)


def test_nulls_are_as_if_they_were_not_there(url):
    optional = ("instructions", "tools", "store", "previous_response_id", "reasoning", "text")
    body = {"model": "tiny", "input": ASKED, "max_output_tokens": 2} | dict.fromkeys(optional)
    assert httpx.post(f"{url}/v1/responses", json=body, timeout=60).status_code == 200
