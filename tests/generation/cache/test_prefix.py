"""A prompt that begins as one before is read only from where it differs, to the same end."""

import copy

import pytest
import torch
from given_texts import GivenTexts
from torch.testing import assert_close

from flythinker.generation.cache.prefix import Prefix, PrefixCache
from tiny import PLAIN, TOLERANCE, VARIANTS, random_ids, tiny_flythinker


def prompts(shared: int, *lengths: int) -> list[list[int]]:
    """Prompts that have their first `shared` tokens in common."""
    profile = random_ids(shared, seed=1).tolist()
    return [profile + random_ids(n, seed=10 + n).tolist() for n in lengths]


def read_on(given, tokens):
    """The logits of the last text, when all go on."""
    texts = len(given.scheduler.slots)
    return torch.cat([given.read(torch.tensor([[t]] * texts))[-1] for t in tokens])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_prompt_read_in_part_is_the_prompt_read_whole(variant):
    model = tiny_flythinker(variant)
    plain, cached = GivenTexts(copy.deepcopy(model), 3), GivenTexts(model, 3, prefix_bytes=2**20)
    for prompt in prompts(20, 7, 4, 9):
        assert_close(cached.join(prompt), plain.join(prompt), **TOLERANCE)
        assert_close(read_on(cached, [5, 9, 7]), read_on(plain, [5, 9, 7]), **TOLERANCE)
    parts = 2
    assert cached.runner.prefixes.hits == parts * 2 * 20
    assert plain.runner.prefixes.hits == 0


def test_nothing_is_read_from_another_owners_prompts():
    given = GivenTexts(tiny_flythinker(PLAIN), 4, prefix_bytes=2**20)
    (prompt,) = prompts(0, 30)
    for owner in ("ann", "bob"):
        given.join(prompt, owner=owner)
    assert given.runner.prefixes.hits == 0
    parts = 2
    given.join(prompt, owner="ann")
    assert given.runner.prefixes.hits == parts * 29


def test_the_same_prompt_again_reads_one_token(monkeypatch):
    given = GivenTexts(tiny_flythinker(PLAIN), 3, prefix_bytes=2**20)
    (prompt,) = prompts(0, 30)
    first = given.join(prompt)
    read = []
    logits = given.runner.generator.logits

    def counting(embeds, *args, **kwargs):
        read.append(embeds.shape[1])
        return logits(embeds, *args, **kwargs)

    monkeypatch.setattr(given.runner.generator, "logits", counting)
    assert_close(given.join(prompt), first, **TOLERANCE)
    assert read == [1]


def test_reasoner_and_generator_each_reuse_their_own_prompts():
    model = tiny_flythinker(PLAIN)
    plain, cached = GivenTexts(copy.deepcopy(model), 4), GivenTexts(model, 4, prefix_bytes=2**20)
    (first, second), (own, other) = prompts(6, 3, 5), prompts(40, 4, 8)
    for prompt, reasoner in ((first, own), (second, other), (second, None), (first, other)):
        assert_close(cached.join(prompt, reasoner), plain.join(prompt, reasoner), **TOLERANCE)
        assert_close(read_on(cached, [5, 9]), read_on(plain, [5, 9]), **TOLERANCE)


def prefix(tokens: int) -> Prefix:
    return Prefix(torch.zeros(1, 1, tokens, 2), torch.zeros(1, 1, tokens, 2))  # 16 bytes a token


def test_the_least_recently_used_prompt_leaves_first():
    cache = PrefixCache(max_bytes=16 * 30)
    for start in (1, 2, 3):
        cache.put("a", [start] * 10, prefix(10))
    assert (len(cache), cache.n_bytes) == (3, 480)
    assert cache.find("a", [1] * 5)[0] == 4  # never all of them
    cache.put("a", [4] * 10, prefix(10))
    assert [cache.find("a", [n] * 12)[0] for n in (1, 2, 3, 4)] == [10, 0, 10, 10]
    assert cache.n_bytes <= cache.max_bytes
    cache.put("a", [5] * 31, prefix(31))  # larger than everything allowed
    assert [cache.find("a", [n] * 12)[0] for n in (1, 3, 4, 5)] == [10, 10, 10, 0]


def test_the_longest_agreement_wins_and_kinds_stay_apart():
    cache = PrefixCache(max_bytes=2**20)
    cache.put("a", [1, 2, 3], prefix(3))
    cache.put("a", [1, 2, 3, 4, 5], prefix(5))
    cache.put("b", [1, 2, 3, 4, 5, 6, 7], prefix(7))
    assert cache.find("a", [1, 2, 3, 4, 9, 9])[0] == 4
    assert cache.find("c", [1, 2, 3])[1] is None
