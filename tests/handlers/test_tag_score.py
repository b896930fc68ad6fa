# SPDX-License-Identifier: Apache-2.0
"""Scores of a classifier of tags."""

from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine

from wss_monai.handlers import TagScore
from wss_monai.inferers import SlicesInferer

NAMES = ["background", "RV", "LV"]


def test_values_by_hand():
    score = TagScore(NAMES)
    score.update((torch.tensor([[math.log(3), 1.0], [0.1, 2.0]]), torch.tensor([[[1, 1, 1], [1, 0, 1]]])))
    score.update((torch.tensor([[-5.0, 7.0], [9.0, 9.0]]), torch.tensor([[[1, -1, -1], [-1, -1, 1]]])))
    values = score.values()
    costs = [math.log(4 / 3), math.log1p(math.exp(0.1)), *(math.log1p(math.exp(-x)) for x in (1.0, 2.0, 9.0))]
    assert values["tag_ce"] == pytest.approx(sum(costs) / 5, rel=1e-5)
    assert values["tag_accuracy"] == pytest.approx(4 / 5)
    assert values["auc_RV"] == values["auc"] == 1.0 and "auc_LV" not in values
    assert score.compute() == -values["tag_ce"]


def test_nothing_known_and_not_finite():
    score = TagScore(NAMES)
    assert score.values() == {} and score.compute() == 0
    score.update((torch.zeros(1, 2), torch.full((1, 1, 3), -1)))
    assert score.compute() == 0
    score.update((torch.full((1, 2), math.nan), torch.ones(1, 1, 3)))
    assert score.compute() == -math.inf


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"slice_tags: \(2, 3\) tags need logits \(2, 2\)"):
        TagScore(NAMES).update((torch.zeros(2, 3), torch.zeros(1, 2, 3)))


def test_in_an_engine_the_values_are_its_metrics():
    engine = Engine(lambda engine, batch: {"pred": batch["logits"]})
    TagScore(NAMES, "tags").attach(engine, "score")
    engine.run([{"logits": torch.tensor([[1.0, -1.0]]), "tags": torch.tensor([[1, 1, 0]])}])
    assert engine.state.metrics["tag_accuracy"] == 1.0
    assert engine.state.metrics["score"] == pytest.approx(-math.log1p(math.exp(-1.0)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_slice_is_a_sample(axis):
    volume = torch.randn(2, 3, 4, 5, 6)

    def network(x):
        return x.flatten(2).mean(2)

    out = SlicesInferer(axis, batch_size=3)(volume, network)
    expected = torch.cat([v.movedim(axis + 1, 0).flatten(2).mean(2) for v in volume])
    torch.testing.assert_close(out, expected)
    assert SlicesInferer(None)(volume, network).shape == (2, 3)
