# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from ignite.engine import Engine

from wss_monai.handlers import AddWeight, StartTerm, StealWeight
from wss_monai.losses import PartialCrossEntropyLoss, WeightedSumLoss


def sum_loss():
    return WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0), "size": (PartialCrossEntropyLoss(), 0.01)})


def weights_of(make, epochs, start=0):
    """(partial, size) in each epoch of a run that goes on after ``start`` finished epochs."""
    loss = sum_loss()
    seen = []
    engine = Engine(lambda _engine, _batch: seen.append((loss.weights["partial"], loss.weights["size"])))
    make(loss).attach(engine)
    if start:
        engine.load_state_dict({"epoch": start, "max_epochs": epochs, "epoch_length": 1})
        engine.run([0])
    else:
        engine.run([0], max_epochs=epochs)
    return seen


SCHEDULES = [
    (lambda loss: StartTerm(loss, "size"), [(1, w) for w in (0, 0, 0, 0.01, 0.01, 0.01)]),
    (lambda loss: StartTerm(loss, "size", epochs=0), [(1, 0.01)] * 6),
    (lambda loss: AddWeight(loss, "size", 0.02), [(1, w) for w in (0.01, 0.03, 0.05, 0.07, 0.09, 0.11)]),
    (lambda loss: AddWeight(loss, "size", 0.02, most=0.06), [(1, w) for w in (0.01, 0.03, 0.05, 0.06, 0.06, 0.06)]),
    (lambda loss: AddWeight(loss, "partial", -0.3), [(w, 0.01) for w in (1, 0.7, 0.4, 0.1, 0, 0)]),
    (
        lambda loss: StealWeight(loss, "partial", "size", 0.4),
        [(1, 0.01), (0.6, 0.41), (0.2, 0.81), (0.1, 0.91), (0.1, 0.91), (0.1, 0.91)],
    ),
    (
        lambda loss: StealWeight(loss, "partial", "size", 0.4, published=True),
        [(1, 0.01), (0.6, 0.41), (0.2, 0.81), (0.1, 1.21), (0.1, 1.61), (0.1, 2.01)],
    ),
    (lambda loss: StealWeight(loss, "size", "partial", 0.4), [(1, 0.01)] * 6),  # below the least already
]


@pytest.mark.parametrize(("make", "expected"), SCHEDULES)
def test_weights_of_each_epoch_of_a_whole_and_of_a_resumed_run(make, expected):
    whole = weights_of(make, 6)
    assert sum(whole, ()) == pytest.approx(sum(expected, ()))
    assert weights_of(make, 6, start=4) == whole[4:]


def test_unknown_terms_and_numbers_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"term must be one of \['partial', 'size'\], got 'sise'"):
        StartTerm(sum_loss(), "sise")
    with pytest.raises(ValueError, match="epochs must be a number of epochs"):
        StartTerm(sum_loss(), "size", epochs=-1)
    with pytest.raises(ValueError, match="add must be a finite number"):
        AddWeight(sum_loss(), "size", float("nan"))
    with pytest.raises(ValueError, match="most must be at least the weight of 'size'"):
        AddWeight(sum_loss(), "size", 0.1, most=0.001)
    with pytest.raises(ValueError, match="target must be one of"):
        StealWeight(sum_loss(), "size", "centroid", 0.1)
    with pytest.raises(ValueError, match="two terms"):
        StealWeight(sum_loss(), "size", "size", 0.1)
    with pytest.raises(ValueError, match="amount must be a number, 0 or more"):
        StealWeight(sum_loss(), "size", "partial", -0.1)
