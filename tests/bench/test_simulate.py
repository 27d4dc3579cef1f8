from dataclasses import replace

import numpy as np
import pytest

from flythinker.bench.hardware import PAIRS, QWEN_7B, Pair
from flythinker.bench.simulate import Load, Request, Server, poisson_requests, simulate

LOAD = Load(rate=0.5, users=10, profile_tokens=100, query_tokens=50, response_tokens=20)
SERVER = Server(
    slots=4,
    cached=100,
    decode=lambda texts, context: 0.01,
    prefill=lambda new, found: 0.001 * new,
)


def test_one_request_alone():
    outcome = simulate(SERVER, LOAD, [Request(3.0, 0)])
    assert outcome.ttft_p50 == pytest.approx(0.15)
    # the first token comes with the prompt
    assert outcome.tokens_per_second == pytest.approx(20 / (0.15 + 19 * 0.01))
    assert outcome.busy == pytest.approx(1)
    assert outcome.hit_rate == 0


def test_texts_are_written_together():
    requests = [Request(0.0, 0)] * 4
    seen = []
    server = replace(SERVER, decode=lambda texts, context: seen.append((texts, context)) or 0.01)
    simulate(server, LOAD, requests)
    assert next(context for texts, context in seen if texts == 4) == 4 * 150 + 1 + 2 + 3 + 4
    alone = replace(server, slots=1)
    seen.clear()
    simulate(alone, LOAD, requests)
    assert {texts for texts, _ in seen} == {1}


def test_the_queue_is_the_textbooks():
    # one place, one token each, constant service: M/D/1 holds rho^2 / 2(1 - rho) in its queue
    load = replace(LOAD, rate=0.7, response_tokens=1)
    server = replace(SERVER, slots=1, prefill=lambda new, found: 1.0)
    outcome = simulate(server, load, poisson_requests(load, 40_000, seed=1))
    assert outcome.busy == pytest.approx(0.7, abs=0.02)
    assert outcome.waiting == pytest.approx(0.7**2 / (2 * 0.3), rel=0.1)


def test_users_ask_by_their_popularity():
    users = np.array([r.user for r in poisson_requests(replace(LOAD, rate=100), 500)])
    counts = np.bincount(users, minlength=10)
    expected = np.arange(1, 11) ** -1.0
    np.testing.assert_allclose(counts / len(users), expected / expected.sum(), atol=0.01)


def test_the_cache_keeps_whom_was_asked_for_last():
    requests = [Request(float(100 * n), user) for n, user in enumerate([0, 1, 0, 2, 1])]
    read = []
    server = replace(SERVER, cached=2, prefill=lambda new, found: read.append(new) or 0.1)
    outcome = simulate(server, LOAD, requests)
    assert read == [150, 150, 50, 150, 150]  # the third user's prompt drove out the second's
    assert outcome.hit_rate == pytest.approx(100 / (5 * 150))

    # as if it had served both before
    read.clear()
    simulate(server, LOAD, requests[:2], before=requests[:2])
    assert read == [50, 50]

    # each prompt in a place of its own: the first user's second drives out the second's first
    read.clear()
    requests = [Request(float(100 * n), user) for n, user in enumerate([0, 1, 0, 1])]
    simulate(replace(server, cached_by_user=False), LOAD, requests)
    assert read == [150, 150, 50, 150]


def test_costs_on_gpus():
    alone, pair = PAIRS[0], PAIRS[1]
    # keys and values of a Qwen2.5-7B token: 28 layers, 4 heads of 128, two bytes each
    assert alone.token_bytes == 2 * 28 * 4 * 128 * 2
    for seconds in (Pair.prefill_seconds, lambda p, n: p.decode_seconds(8, n)):
        assert seconds(pair, 1000) > seconds(alone, 1000)
        assert seconds(replace(pair, gpus=2), 1000) < seconds(pair, 1000)
    # one text reads all weights: at 70 % of 3.35 TB/s
    assert alone.decode_seconds(1, 0) == pytest.approx(2 * QWEN_7B.parameters / 2.345e12 + 0.003)
    server = pair.server(Load(1, 1))
    assert server.slots == 128
    assert 0 < server.cached < alone.server(Load(1, 1)).cached
