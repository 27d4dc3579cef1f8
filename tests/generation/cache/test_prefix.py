"""A prompt that begins as one before is read only from where it differs, to the same end."""

import copy

import pytest
import torch
from torch.testing import assert_close

from flythinker.generation.cache.prefix import Prefix, PrefixCache
from flythinker.generation.runner import Engine
from tiny import PLAIN, TOLERANCE, VARIANTS, random_ids, tiny_flythinker


def prompts(shared: int, *lengths: int) -> list[list[int]]:
    """Prompts that have their first `shared` tokens in common."""
    profile = random_ids(shared, seed=1).tolist()
    return [profile + random_ids(n, seed=10 + n).tolist() for n in lengths]


def read_on(engine, tokens):
    """The logits of a text that goes on."""
    last = len(engine.places) - 1
    return torch.cat([engine.read(torch.tensor([[t]]), last)[0] for t in tokens])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_prompt_read_in_part_is_the_prompt_read_whole(variant):
    model = tiny_flythinker(variant)
    plain, cached = Engine(copy.deepcopy(model), 3), Engine(model, 3, prefix_bytes=2**20)
    for prompt in prompts(20, 7, 4, 9):
        assert_close(cached.join(prompt), plain.join(prompt), **TOLERANCE)
        assert_close(read_on(cached, [5, 9, 7]), read_on(plain, [5, 9, 7]), **TOLERANCE)
    parts = 2
    assert cached.prefixes.hits == parts * 2 * 20
    assert plain.prefixes.hits == 0


def test_nothing_is_read_from_another_owners_prompts():
    engine = Engine(tiny_flythinker(PLAIN), 4, prefix_bytes=2**20)
    (prompt,) = prompts(0, 30)
    for owner in ("ann", "bob"):
        engine.join(prompt, owner=owner)
    assert engine.prefixes.hits == 0
    parts = 2
    engine.join(prompt, owner="ann")
    assert engine.prefixes.hits == parts * 29


def test_the_same_prompt_again_reads_one_token(monkeypatch):
    engine = Engine(tiny_flythinker(PLAIN), 3, prefix_bytes=2**20)
    (prompt,) = prompts(0, 30)
    first = engine.join(prompt)
    read = []
    write = engine._write

    def counting(first, ids, *args, **kwargs):
        read.append(ids.shape[1])
        return write(first, ids, *args, **kwargs)

    monkeypatch.setattr(engine, "_write", counting)
    assert_close(engine.join(prompt), first, **TOLERANCE)
    assert read == [1]


def test_reasoner_and_generator_each_reuse_their_own_prompts():
    model = tiny_flythinker(PLAIN)
    plain, cached = Engine(copy.deepcopy(model), 4), Engine(model, 4, prefix_bytes=2**20)
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
