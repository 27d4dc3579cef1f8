"""transformers' generation strategies on a FlyThinker model."""

from threading import Thread

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    PreTrainedModel,
    TextIteratorStreamer,
)

from flythinker import FlyThinkerForCausalLM
from flythinker.backbones.packaged import resolve_backbone
from flythinker.model.cache import CACHE_NAME
from tiny import (
    INJECTIONS,
    Variant,
    greedy_by_recomputation,
    padded,
    random_ids,
    tiny_flythinker,
    tiny_generator,
)

NEW_TOKENS = 10
PROMPT = random_ids(1, 8, seed=3)
BATCH = padded([random_ids(8, seed=3), random_ids(5, seed=4)], "left")


@pytest.fixture(params=INJECTIONS)
def model(request: pytest.FixtureRequest) -> FlyThinkerForCausalLM:
    return tiny_flythinker(Variant(injection=request.param, reasoner_width=16))


def write(model: PreTrainedModel, inputs: dict | None = None, **kwargs: object) -> Tensor:
    inputs = inputs or {"input_ids": PROMPT}
    return model.generate(**inputs, max_new_tokens=NEW_TOKENS, **kwargs)


def test_sampling_with_the_same_seed_writes_the_same_text(model):
    texts = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        texts.append(write(model, BATCH, do_sample=True, temperature=0.8, top_p=0.95).tolist())
    assert texts[0] == texts[1] != texts[2]


def test_several_samples_of_one_prompt(model):
    samples = write(model, BATCH, do_sample=True, num_return_sequences=3)
    assert len(samples) == 6
    assert len({tuple(sample.tolist()) for sample in samples[:3]}) > 1
    for sample, row in zip(samples, BATCH["input_ids"].repeat_interleave(3, dim=0), strict=True):
        assert torch.equal(sample[: len(row)], row)


def test_beams_with_cache_are_the_beams_without(model):
    beams = {"num_beams": 3, "num_return_sequences": 2, "do_sample": False}
    cached = write(model, BATCH, **beams)
    assert torch.equal(cached, write(model, BATCH, **beams, use_cache=False))
    assert len(cached) == 4


@pytest.mark.parametrize("inputs", [{"input_ids": PROMPT}, BATCH], ids=["single", "batch"])
def test_greedy_without_cache_is_greedy_with_cache(model, inputs):
    assert torch.equal(
        write(model, inputs, do_sample=False),
        write(model, inputs, do_sample=False, use_cache=False),
    )


def test_prompt_lookup_writes_the_greedy_text(model):
    repetitive = {"input_ids": random_ids(1, 6).repeat(1, 3)}
    plain = write(model, repetitive, do_sample=False)
    assert torch.equal(write(model, repetitive, do_sample=False, prompt_lookup_num_tokens=4), plain)


@pytest.mark.parametrize("assistant", ["generator", "itself", "another"])
def test_assisted_decoding_writes_the_greedy_text(model, assistant):
    drafter = {
        "generator": tiny_generator(),
        "itself": tiny_flythinker(Variant(injection=model.config.injection, reasoner_width=16)),
        "another": tiny_flythinker(Variant(projection="linear"), seed=5),
    }[assistant]
    plain = write(model, do_sample=False)
    assert torch.equal(write(model, do_sample=False, assistant_model=drafter), plain)


def test_a_flythinker_drafts_for_a_plain_model():
    generator = tiny_generator()
    assisted = write(generator, do_sample=False, assistant_model=tiny_flythinker())
    assert torch.equal(assisted, write(generator, do_sample=False))


def test_a_sliding_window_reasoner_is_rolled_back_by_assisted_decoding():
    # more tokens than the window holds: what slides out of it must come back with a rejection
    config = MistralConfig(**{**tiny_generator().config.to_dict(), "sliding_window": 4})
    config.model_type = "mistral"
    torch.manual_seed(0)
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        AutoModelForCausalLM.from_config(config).eval(), AutoModel.from_config(config).eval()
    )
    expected = greedy_by_recomputation(model, PROMPT[0], NEW_TOKENS)
    for strategy in ({}, {"prompt_lookup_num_tokens": 3}, {"assistant_model": tiny_generator()}):
        assert write(model, do_sample=False, **strategy)[0].tolist() == expected, strategy


@pytest.mark.parametrize("weight", [0.0, 0.1, 3.0])
def test_the_fusion_weight_may_be_given_per_call(model, weight):
    length = torch.tensor([PROMPT.shape[1]])
    expected = greedy_by_recomputation(
        model, PROMPT[0], NEW_TOKENS, fusion_weight=weight, prompt_length=length
    )
    text = write(model, do_sample=False, fusion_weight=weight)[0].tolist()
    assert text == expected
    for strategy in ({"prompt_lookup_num_tokens": 3}, {"assistant_model": tiny_generator()}):
        assert write(model, do_sample=False, fusion_weight=weight, **strategy)[0].tolist() == text


@pytest.mark.parametrize("name", ["cache", "past_key_values"])  # its name before transformers 5.24
@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")
def test_a_given_cache_is_continued(name):
    model = tiny_flythinker()
    seen = model(PROMPT[:, :3], use_cache=True)[CACHE_NAME]
    cache = model(PROMPT[:, 3:-1], **{name: seen})[CACHE_NAME]
    assert cache is seen
    continued = write(model, do_sample=False, **{name: cache})
    assert torch.equal(continued, write(model, do_sample=False))


def test_the_prompt_ends_where_the_caller_says():
    model = tiny_flythinker(Variant(injection="output"))
    early = torch.tensor([2])
    expected = greedy_by_recomputation(model, PROMPT[0], NEW_TOKENS, prompt_length=early)
    text = write(model, do_sample=False, prompt_length=early)[0].tolist()
    assert text == expected


def test_a_streamer_shows_the_text_as_it_is_written():
    tokenizer = AutoTokenizer.from_pretrained(resolve_backbone("smollm2-135m"))
    model = tiny_flythinker()  # its 128 tokens are the first of the real vocabulary
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
    options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "streamer": streamer}
    thread = Thread(target=model.generate, args=(PROMPT,), kwargs=options)
    thread.start()
    pieces = list(streamer)
    thread.join()

    written = write(model, do_sample=False)[0, PROMPT.shape[1] :]
    assert len(pieces) > 1
    assert "".join(pieces) == tokenizer.decode(written)


def test_a_static_cache_is_refused():
    with pytest.raises(ValueError, match="cache_implementation='static' is not supported"):
        write(tiny_flythinker(), cache_implementation="static")
