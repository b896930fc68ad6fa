# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from ignite.engine import Engine, Events

from wss_monai.functional.descriptors import Size
from wss_monai.handlers import BarrierSchedule
from wss_monai.losses import ConstraintLoss, LogBarrierExtension, WeightedSumLoss


def barrier_loss(t=5.0):
    return WeightedSumLoss({"size": [ConstraintLoss(Size(), LogBarrierExtension(t=t)), 1.0]})


def t_of_each_epoch(length, start=0, **settings):
    loss, seen = barrier_loss(), []
    engine = Engine(lambda *_: None)
    engine.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "epoch", start))
    BarrierSchedule(loss, **settings).attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: seen.append(loss.t))
    engine.run([0], max_epochs=length)
    return seen


@pytest.mark.parametrize("epochs", [2, 11, 51, 501])
def test_every_length_runs_from_t0_through_50_steps(epochs):
    seen = t_of_each_epoch(epochs)
    assert len(seen) == epochs
    assert (seen[0], seen[-1]) == pytest.approx((5.0, 5 * 1.1**50))
    assert seen == sorted(seen)
    assert seen[epochs // 2] == pytest.approx(5 * 1.1 ** (50 * (epochs // 2) / (epochs - 1)))


def test_steps_are_even_in_the_exponent():
    assert t_of_each_epoch(6, t0=1.0) == pytest.approx([1.1**n for n in (0, 10, 20, 30, 40, 50)])


def test_published_schedule_takes_one_step_an_epoch():
    assert t_of_each_epoch(4, published=True) == pytest.approx([5.0, 5.5, 6.05, 6.655])
    assert t_of_each_epoch(8, t0=400.0, factor=2.0, published=True) == [400.0, 800.0] + [1000.0] * 6


def test_one_epoch_keeps_t0_and_growth_does_not_overflow():
    assert t_of_each_epoch(1) == [5.0]
    assert t_of_each_epoch(3, steps=1e9)[-1] == 1000.0


def test_after_a_resume_t_is_that_of_the_epoch():
    whole = t_of_each_epoch(10)
    assert t_of_each_epoch(10, start=6) == whole[6:]


@pytest.mark.parametrize("wrong", [{"t0": 0.0}, {"factor": -1.0}, {"t_max": float("nan")}, {"steps": float("inf")}])
def test_numbers_that_are_not_positive_are_refused(wrong):
    with pytest.raises(ValueError, match="must be positive"):
        BarrierSchedule(barrier_loss(), **wrong)


def test_length_of_the_run_may_be_given():
    assert t_of_each_epoch(2, epochs=51) == pytest.approx([5.0, 5.5])
