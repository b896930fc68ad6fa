# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
from ignite.engine import Engine

from wss_monai.handlers import WeightRamp
from wss_monai.losses import PartialCrossEntropyLoss, WeightedSumLoss


def sum_loss():
    return WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0), "pseudo": (PartialCrossEntropyLoss(), 0.5)})


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0.2, 0.4, [0, 0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.5, 0.5]),
        (0.3, 0.0, [0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        (0.0, 0.0, [0.5] * 10),
        (1.0, 0.0, [0.0] * 10),
    ],
)
def test_weight_of_each_epoch(start, length, expected):
    loss = sum_loss()
    ramp = WeightRamp(loss, "pseudo", start, length)
    seen = []
    engine = Engine(lambda _engine, _batch: seen.append(loss.weights["pseudo"]))
    ramp.attach(engine)
    engine.run([0], max_epochs=10)
    assert seen == pytest.approx(expected)
    assert loss.weights["partial"] == 1


def test_sigmoid_shape_and_terms_that_want_to_know():
    loss = sum_loss()
    told = []
    loss.terms["pseudo"].set_share = told.append
    ramp = WeightRamp(loss, "pseudo", 0.0, 1.0, shape="sigmoid")
    ramp.attach(engine := Engine(lambda _engine, _batch: None))
    engine.run([0], max_epochs=2)
    assert told == pytest.approx([math.exp(-5 / 4), 1.0])
    assert loss.weights["pseudo"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"shape must be one of \['linear', 'sigmoid'\], got 'cosine'"):
        WeightRamp(sum_loss(), "pseudo", shape="cosine")


def test_unknown_term_and_fractions_are_refused():
    with pytest.raises(ValueError, match=r"term must be one of \['partial', 'pseudo'\], got 'size'"):
        WeightRamp(sum_loss(), "size")
    with pytest.raises(ValueError, match="start must be a fraction"):
        WeightRamp(sum_loss(), "pseudo", start=30)
    with pytest.raises(ValueError, match="length must be a fraction"):
        WeightRamp(sum_loss(), "pseudo", length=-0.1)
