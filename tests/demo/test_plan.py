from dataclasses import replace

import pytest

from flythinker.demo.plan import STEPS, TEXTS, Costs, fit, fit_texts

FAST = Costs(step=2.5, loss=0.6, token=0.4, rest=60)
SLOW = Costs(step=9.0, loss=3.0, token=0.9, rest=60)
TOO_SLOW = Costs(step=90.0, loss=30.0, token=9.0, rest=60)
MINUTES_15 = 900.0


def test_a_fast_machine_does_all_of_it():
    plan = fit(FAST, 2 * MINUTES_15)
    assert (plan.steps, plan.texts) == (STEPS[1], TEXTS[1])


@pytest.mark.parametrize("costs", [FAST, SLOW])
def test_what_is_planned_fits_with_room_to_spare(costs):
    plan = fit(costs, MINUTES_15)
    assert STEPS[0] < plan.steps <= STEPS[1]
    assert plan.seconds <= 0.86 * MINUTES_15
    assert plan.seconds == pytest.approx(costs.training(plan.steps) + costs.judging(plan.texts))


def test_a_slower_machine_does_less():
    assert fit(SLOW, MINUTES_15).steps < fit(FAST, MINUTES_15).steps
    dear_texts = replace(SLOW, token=1.5)
    assert fit(dear_texts, MINUTES_15).texts < fit(SLOW, MINUTES_15).texts


def test_where_nothing_fits_the_least_is_planned_and_its_time_is_true():
    plan = fit(TOO_SLOW, MINUTES_15)
    assert (plan.steps, plan.texts) == (STEPS[0], TEXTS[0])
    assert plan.seconds > MINUTES_15


def test_texts_that_no_longer_fit_are_left_out():
    assert fit_texts(SLOW, 2 * SLOW.judging(TEXTS[1]), TEXTS[1]) == TEXTS[1]
    assert fit_texts(SLOW, SLOW.judging(12), TEXTS[1]) == 12
    assert fit_texts(SLOW, 0.0, TEXTS[1]) == TEXTS[0]
