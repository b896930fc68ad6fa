# SPDX-License-Identifier: Apache-2.0
"""The learning rate that rises, rests and falls."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from wss_monai.optimizers import WarmupCosineLR

FIRST, PEAK = 1e-7, 4e-5


def made(rates=(FIRST,), **options):
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    optimizer = torch.optim.Adam(parameters)
    return optimizer, WarmupCosineLR(optimizer, **{"epochs": 100, **options})


def step(optimizer, scheduler):
    optimizer.step()
    scheduler.step()


def rates(optimizer, scheduler, epochs):
    """The rate in each epoch."""
    seen = []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        step(optimizer, scheduler)
    return seen


def formula(e):
    """As published, for 100 epochs with a warm-up of 10."""
    if e <= 10:
        return FIRST * (1 + 39.9 * e)
    return FIRST + (PEAK - FIRST) * (1 + math.cos(math.pi * max(e - 11, 0) / 90)) / 2


def test_rates_of_the_published_recipe():
    seen = rates(*made(), 100)
    assert seen == pytest.approx([formula(e) for e in range(100)], rel=1e-12, abs=1e-19)
    known = {0: 1e-7, 1: 4.09e-6, 5: 2.005e-5, 10: 4e-5, 11: 4e-5, 30: 3.578e-5, 55: 2.075e-5, 99: 1.49e-7}
    for epoch, rate in known.items():
        assert seen[epoch] == pytest.approx(rate, rel=4e-3 if epoch == 99 else 3e-4), epoch
    assert seen.index(max(seen)) == 10 and seen[10] == seen[11] > seen[12]


def test_every_group_follows_its_own_first_rate():
    optimizer, scheduler = made(rates=(1e-7, 1e-6))
    for _ in range(7):
        step(optimizer, scheduler)
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert second == pytest.approx(10 * first) and first == pytest.approx(formula(7))


@pytest.mark.parametrize("stop", [0, 5, 10, 11, 12, 55, 98])
def test_a_resumed_schedule_goes_on(stop):
    expected = rates(*made(), 100)
    optimizer, scheduler = made()
    rates(optimizer, scheduler, stop)
    saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    optimizer, scheduler = made()
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    assert rates(optimizer, scheduler, 100 - stop) == expected[stop:]
    assert not any(isinstance(value, torch.optim.Optimizer) for value in saved[1].values())


def test_no_warm_up_a_short_run_and_a_longer_one():
    assert rates(*made(warmup=0, epochs=4), 3)[:2] == pytest.approx([PEAK, PEAK])
    short = rates(*made(warmup=10, epochs=6), 6)
    assert short == pytest.approx([formula(e) for e in range(6)])
    beyond = rates(*made(warmup=2, epochs=5), 9)
    assert beyond[-1] == pytest.approx(FIRST) and beyond[6:] == pytest.approx([FIRST] * 3)
    assert all(math.isfinite(rate) and rate > 0 for rate in beyond)


def test_a_multiplier_of_one_changes_nothing():
    assert rates(*made(multiplier=1.0), 30) == pytest.approx([FIRST] * 30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"warmup": -1}, "warmup at least 0, got 100, -1"),
        ({"multiplier": 0.0}, "multiplier must be positive, got 0.0"),
        ({"multiplier": math.inf}, "multiplier must be positive"),
        ({"multiplier": math.nan}, "multiplier must be positive"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        made(**options)
