"""Wrong use is a ValueError that says what to do."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from flythinker import FlyThinkerForCausalLM
from flythinker.model.cache import CACHE_NAME
from tiny import (
    VOCAB,
    Variant,
    random_ids,
    tiny_flythinker,
    tiny_generator,
    tiny_reasoner,
)

IDS = random_ids(2, 6)
join = FlyThinkerForCausalLM.from_generator_reasoner_pretrained


def saved(model: PreTrainedModel, words: str, folder: Path) -> str:
    """A model folder with a tokenizer of these words."""
    vocabulary = {word: index for index, word in enumerate(words.split())}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=words.split()[0]))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"injection": "middle"}, "injection is 'middle'; it must be one of global, input, output"),
        ({"projection": "mlp"}, "projection is 'mlp'; it must be one of pad, linear"),
        ({"fusion_weight": -0.5}, "fusion_weight is -0.5; it must be 0 or more"),
        ({"reasoner_layers": 0}, "reasoner_layers is 0; this Reasoner has 2 layers.*choose 1 to 2"),
        ({"reasoner_layers": 3}, "reasoner_layers is 3; this Reasoner has 2 layers.*choose 1 to 2"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_a_setting_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        join(tiny_generator(), tiny_reasoner(), **settings)


def test_thoughts_without_a_reasoner():
    with pytest.raises(ValueError, match=r"fusion_weight is 0\.5 but there is no Reasoner.*give a"):
        join(tiny_generator(), None)
    alone = join(tiny_generator(), None, fusion_weight=0)
    with pytest.raises(ValueError, match="no Reasoner: fusion_weight must be 0"):
        alone(IDS, fusion_weight=0.5)


def test_a_reasoner_wider_than_the_generator_needs_the_linear_projection():
    with pytest.raises(ValueError, match=r'width 48.*width 32.*projection="linear"'):
        join(tiny_generator(), tiny_reasoner(width=48))
    model = join(tiny_generator(), tiny_reasoner(width=48), projection="linear")
    assert model(IDS).thoughts.shape == (2, 6, 48)


def test_one_loaded_model_for_both_parts():
    generator = tiny_generator()
    with pytest.raises(ValueError, match="one and the same loaded model: give a second copy"):
        join(generator, generator)


@pytest.mark.parametrize("injection", ["input", "output"])
def test_an_unknown_prompt_length(injection):
    model = tiny_flythinker(Variant(injection=injection))
    with pytest.raises(ValueError, match="needs prompt_length: pass the number of prompt tokens"):
        model(IDS)
    with pytest.raises(ValueError, match="with a batch needs attention_mask"):
        model.generate(IDS, max_new_tokens=2)
    model.generate(IDS[:1], max_new_tokens=2)  # one row has no padding


@pytest.mark.parametrize("begun", [0.0, 0.5])
def test_a_cache_with_tokens_that_have_no_thoughts_cannot_go_on_with_them(begun):
    model = tiny_flythinker()
    cache = model(IDS, use_cache=True, fusion_weight=begun)[CACHE_NAME]
    model(IDS, cache=cache, fusion_weight=0)
    with pytest.raises(ValueError, match="holds no thoughts of some tokens: start a new cache"):
        model(IDS, cache=cache)


def test_embeddings_in_place_of_tokens():
    model = tiny_flythinker()
    with pytest.raises(ValueError, match="pass input_ids, not inputs_embeds"):
        model(IDS, inputs_embeds=model.get_input_embeddings()(IDS))


def test_vocabularies_of_different_sizes_that_cannot_be_compared():
    with pytest.raises(ValueError, match=f"the Generator's has {VOCAB} entries, the Reasoner's 96"):
        join(tiny_generator(), tiny_reasoner(vocab=96))


def test_tokenizers_that_differ(tmp_path):
    generator = saved(tiny_generator(), "the sea is blue", tmp_path / "generator")
    reasoner = saved(tiny_reasoner(), "the sea blue is", tmp_path / "reasoner")
    message = r"must share one tokenizer: 2 tokens differ.*'blue' \(id 3 against 2\).*same family"
    with pytest.raises(ValueError, match=message):
        join(generator, reasoner)
    loaded = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        generator, None, fusion_weight=0
    ).generator
    with pytest.raises(ValueError, match=message):
        join(loaded, reasoner)


@torch.no_grad()
def test_one_tokenizer_with_embedding_tables_of_different_sizes(tmp_path):
    words = "the sea is blue"
    generator = saved(tiny_generator(), words, tmp_path / "generator")
    reasoner = saved(tiny_reasoner(vocab=96), words, tmp_path / "reasoner")
    model = join(generator, reasoner)
    ids = IDS % 4
    assert model(ids).logits.shape == (2, 6, VOCAB)
    assert not torch.equal(model(ids).logits, model(ids, fusion_weight=0).logits)
