"""Chat templates of the shapes of real ones: whether they think, and what stands before a text."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from flythinker.data.example import Document, Example
from flythinker.data.prompt import PromptConfig, Turn, build_prompt, end_of_turn_id
from flythinker.data.template import first_ids, settled_template
from flythinker.model_folder import load_tokenizer

# as Qwen3's: off by the argument, and an empty thought before the last answer
QWEN3 = """{%- for message in messages %}
    {%- if message.role == 'assistant' and loop.last %}
        {{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}
        {{- message.content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
# as SmolLM3's: a default of its own, a mode in the system message, marks for what is learned
SMOLLM3 = """{# defaults #}
{%- if enable_thinking is not defined -%}
{%- set enable_thinking = true -%}
{%- endif -%}
{%- set mode = "/think" if enable_thinking else "/no_think" -%}
{{- "<|im_start|>system\\nReasoning Mode: " + mode + "\\n" -}}
{%- if messages[0].role == "system" -%}{{- messages[0].content.rstrip() + "\\n" -}}{%- endif -%}
{{- "<|im_end|>\\n" -}}
{%- for message in messages -%}
    {%- if message.role == "user" -%}
        {{ "<|im_start|>user\\n" + message.content + "<|im_end|>\\n" }}
    {%- elif message.role == "assistant" -%}
        {% generation %}
        {%- set thought = "" if mode == "/think" else "<think>\\n\\n</think>\\n" -%}
        {{ "<|im_start|>assistant\\n" + thought + message.content.lstrip("\\n") + "<|im_end|>\\n" }}
        {% endgeneration %}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ "<|im_start|>assistant\\n" + ("" if mode == "/think" else "<think>\\n\\n</think>\\n") }}
{%- endif -%}
"""
# as gpt-oss's: an effort, read in a macro, and channels, of which the model chooses one
GPT_OSS = """{%- macro system_message() -%}
    {%- if reasoning_effort is not defined %}
        {%- set reasoning_effort = "medium" %}
    {%- endif %}
    {{- "Reasoning: " + reasoning_effort }}
{%- endmacro -%}
{{- "<|start|>system<|message|>" }}
{{- system_message() }}
{{- "<|end|>" }}
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {%- if "thinking" in message %}
            {{- "<|start|>assistant<|channel|>analysis<|message|>" + message.thinking + "<|end|>" }}
        {%- endif %}
        {%- if loop.last and not add_generation_prompt %}
            {{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|return|>" }}
        {%- else %}
            {{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|end|>" }}
        {%- endif %}
    {%- else -%}
        {{- "<|start|>" + message.role + "<|message|>" + message.content + "<|end|>" }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|start|>assistant
{%- endif -%}
"""
# as that of Qwen3's thinking-only models: a thought is begun, and no argument prevents it
THINKING_ONLY = QWEN3.replace(
    """    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
""",
    "    {{- '<|im_start|>assistant\\n<think>\\n' }}\n",
)
# as Mistral's: a space begins an answer, which is no sign of anything
MISTRAL = """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}\
{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}\
{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}
"""
CONTROL = [
    *("<s>", "</s>", "<think>", "</think>", "<|im_start|>", "<|im_end|>", "<|start|>", "<|end|>"),
    *("<|message|>", "<|channel|>", "<|return|>", "[INST]", "[/INST]"),
]
EXAMPLE = Example("ada", "Write.", "It rained.", (Document("Sun."),))
CONFIG = PromptConfig(k=0)


@pytest.fixture
def bytewise() -> PreTrainedTokenizerFast:
    """A tokenizer of bytes and control tokens, without chat template, that knows BOS and EOS."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": CONTROL[2:]})
    return tokenizer


def prompt(tokenizer, template, *earlier: Turn, system: str | None = None) -> str:
    tokenizer.chat_template = template
    config = PromptConfig(k=0, system=system)
    return tokenizer.decode(build_prompt(EXAMPLE, tokenizer, config, earlier=earlier).prompt_ids)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            QWEN3,
            "<|im_start|>user\nWrite.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
        (
            SMOLLM3,
            "<|im_start|>system\nReasoning Mode: /no_think\n<|im_end|>\n<|im_start|>user\nWrite."
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n",
        ),
        (
            GPT_OSS,
            "<|start|>system<|message|>Reasoning: low<|end|><|start|>user<|message|>Write.<|end|>"
            "<|start|>assistant<|channel|>final<|message|>",
        ),
        (
            THINKING_ONLY,
            "<|im_start|>user\nWrite.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
        (MISTRAL, "<s>[INST] Write. [/INST]"),
    ],
    ids=["qwen3", "smollm3", "gpt-oss", "thinking only", "mistral"],
)
def test_an_answer_begins_without_a_thought(bytewise, template, expected):
    assert prompt(bytewise, template) == expected


@pytest.mark.parametrize("template", [QWEN3, SMOLLM3, GPT_OSS, THINKING_ONLY, MISTRAL, None])
def test_what_is_learned_is_the_finished_conversation_of_the_template(bytewise, template):
    """Prompt and response together are what the model's own template makes of both."""
    bytewise.chat_template = template
    template = settled_template(bytewise)
    built = build_prompt(EXAMPLE, bytewise, CONFIG)
    messages = [
        {"role": "user", "content": EXAMPLE.query},
        {"role": "assistant", "content": EXAMPLE.target},
    ]
    whole = bytewise.apply_chat_template(messages, chat_template=template, tokenize=False)
    learned = bytewise.decode(built.prompt_ids + built.response_ids)
    if template == MISTRAL:  # the space before its answers is the answer's own
        whole = whole.replace("[/INST] ", "[/INST]")
    assert whole.rstrip("\n") == learned.rstrip("\n")
    assert built.response_ids[-1] == end_of_turn_id(bytewise)


@pytest.mark.parametrize("template", [QWEN3, SMOLLM3, GPT_OSS, THINKING_ONLY, MISTRAL, None])
def test_any_other_program_makes_the_same_prompt_of_the_saved_template(
    bytewise, tmp_path, template
):
    """Also one that knows of no argument, or asks for thinking."""
    ours = prompt(bytewise, template, Turn("user", "Hi."), Turn("assistant", "Yes?"))
    bytewise.save_pretrained(tmp_path / "given")
    load_tokenizer(str(tmp_path / "given")).save_pretrained(tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    turns = [("user", "Hi."), ("assistant", "Yes?"), ("user", "Write.")]
    chat = [{"role": role, "content": content} for role, content in turns]
    for arguments in ({}, {"enable_thinking": True, "reasoning_effort": "high"}):
        rendered = saved.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True, **arguments
        )
        assert rendered == ours
    assert settled_template(saved) == saved.chat_template


def test_a_template_that_does_not_think_stays_as_it_is(tokenizer):
    assert settled_template(tokenizer) == tokenizer.chat_template


def test_a_system_message_stays_the_users(bytewise):
    text = prompt(bytewise, SMOLLM3, system="Be brief.")
    assert text.startswith("<|im_start|>system\nReasoning Mode: /no_think\nBe brief.\n<|im_end|>")


@pytest.mark.parametrize("begins", [True, False])
def test_a_text_begins_as_the_tokenizer_begins_it(bytewise, begins):
    """A BOS token that the tokenizer itself does not use is not used (GPT-2 and Qwen2 have one)."""
    bytewise.add_bos_token = begins
    beginning = [bytewise.bos_token_id] if begins else []
    assert first_ids(bytewise) == beginning
    plain = build_prompt(EXAMPLE, bytewise, CONFIG).prompt_ids
    assert plain == beginning + bytewise("Write.\n\n", add_special_tokens=False)["input_ids"]


def test_an_eos_behind_a_text_is_no_beginning(bytewise):
    bytewise.add_eos_token = True
    assert bytewise("a")["input_ids"][-1] == bytewise.eos_token_id
    assert first_ids(bytewise) == []


def test_a_template_that_writes_bos_gets_no_second_one(bytewise):
    bytewise.add_bos_token = True
    bytewise.chat_template = MISTRAL
    ids = build_prompt(EXAMPLE, bytewise, CONFIG).prompt_ids
    assert ids.count(bytewise.bos_token_id) == 1
    assert ids[0] == bytewise.bos_token_id


def test_bos_that_only_the_settings_ask_for_is_kept(bytewise, tmp_path):
    """Transformers 5 reads `add_bos_token` no more where there is a tokenizer.json."""
    bytewise.save_pretrained(tmp_path)
    file = Path(tmp_path, "tokenizer_config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"add_bos_token": True}))
    loaded = load_tokenizer(str(tmp_path))
    assert first_ids(loaded) == [loaded.bos_token_id]
    assert loaded.chat_template.startswith('{{ "<s>" }}')

    loaded.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again("a")["input_ids"][0] == again.bos_token_id
    assert load_tokenizer(str(tmp_path / "saved")).chat_template == loaded.chat_template
