"""Both parts at the same time give what one after the other gives (invariant 9)."""

import copy
import time
from threading import Event

import pytest
import torch
from given_texts import GivenTexts

from flythinker.generation.parallel import Parallel
from tiny import VARIANTS, random_ids, tiny_flythinker


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_parts_run_together_compute_what_they_compute_in_turn(variant):
    model = tiny_flythinker(variant)
    both = [GivenTexts(copy.deepcopy(model), 2, parallel=mode) for mode in ("on", "off")]
    for length in (5, 9):
        for given in both:
            given.join(random_ids(length, seed=length).tolist())
    for step in range(4):
        ids = random_ids(2, seed=step)[:, None]
        together, in_turn = (given.read(ids) for given in both)
        torch.testing.assert_close(together, in_turn, rtol=0, atol=0)


def test_auto_runs_together_what_leaves_room_and_in_turn_what_does_not():
    parallel = Parallel("auto")
    done = torch.ones(1)

    def waits():
        time.sleep(0.02)
        return done

    for _ in range(12):
        assert parallel(waits, waits, rows=1) == (done, done)
        parallel(lambda: done, lambda: done, rows=8)

    assert parallel.together(rows=1)
    assert not parallel.together(rows=8)


def test_the_generator_goes_on_with_all_threads_when_the_reasoner_is_done():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    layers = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity())
    parallel = Parallel("on", layers)
    thought, seen = Event(), []

    def think():
        seen.append(("reasoner", torch.get_num_threads()))
        thought.wait(10)
        return torch.ones(1)

    def write():
        layers[0](torch.ones(1))
        seen.append(("generator", torch.get_num_threads()))
        thought.set()
        while parallel._thinking is not None:
            layers[1](torch.ones(1))
        seen.append(("generator alone", torch.get_num_threads()))
        return torch.ones(1)

    try:
        parallel(think, write, rows=1)
    finally:
        torch.set_num_threads(threads)
    assert sorted(seen) == [("generator", 1), ("generator alone", 2), ("reasoner", 1)]


def test_what_fails_in_the_reasoner_is_raised_and_the_threads_come_back():
    threads = torch.get_num_threads()

    def fails():
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        Parallel("on")(fails, lambda: torch.ones(1), rows=1)
    assert torch.get_num_threads() == threads


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r'"auto", "on" or "off"'):
        Parallel("streams")
