# SPDX-License-Identifier: Apache-2.0
"""Constraints on boxes pull the right way, and strips that are not there leave no trace."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.box_descriptors import BoxStrips, OutsideSize
from wss_monai.functional.descriptors import Size
from wss_monai.losses import ConstraintLoss, LogBarrierExtension, QuadraticPenalty, WeightedSumLoss

INF = math.inf
PENALTIES = [QuadraticPenalty(), LogBarrierExtension(5.0)]


def boxes():
    """Two samples, three classes: one has two boxes of class 1, the other none of it and one of class 2."""
    region = torch.zeros(2, 3, 12, 12, dtype=torch.uint8)
    region[0, 1, 1:8, 2:5], region[0, 1, 9:11, 6:11] = 1, 2
    region[1, 2, 3:9, 3:9] = 1
    return region


def bounds_of(region, lower=1.0, upper=INF):
    bounds = torch.tensor([-INF, INF]).repeat(2, 3, 1, 1)
    bounds[(region > 0).flatten(2).any(2)] = torch.tensor([[lower, upper]])
    return bounds


def descend(loss, logits, bounds, region, steps=200, rate=20.0):
    logits = logits.clone().requires_grad_()
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(logits, bounds, region=region), logits)
        logits = (logits - rate * gradient).detach().requires_grad_()
    return torch.softmax(logits, 1).detach()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_tightness_raises_what_is_missing_in_a_line(penalty):
    region = torch.zeros(1, 2, 12, 12, dtype=torch.uint8)
    region[0, 1, 2:8, 3:9] = 1
    logits = torch.full((1, 2, 12, 12), 2.0)
    logits[:, 1] = -2.0
    logits[0, 1, 2:7, 3:9] = 6.0  # all lines but row 7, which is the last of six
    loss = ConstraintLoss(BoxStrips(5), penalty)
    bounds = torch.tensor([[-INF, INF], [1.0, INF]])[None, :, None]
    before = torch.softmax(logits, 1)[0, 1]
    after = descend(loss, logits, bounds, region)[0, 1]
    assert before[7, 3:9].sum() < 0.2
    assert after[7, 3:9].sum() > 0.9
    outside = torch.ones(12, 12, dtype=torch.bool)
    outside[2:8, 3:9] = False
    torch.testing.assert_close(after[outside], before[outside])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_emptiness_lowers_what_is_outside_and_leaves_the_inside(penalty):
    region = boxes()[1:]
    logits = torch.zeros(1, 3, 12, 12)
    loss = ConstraintLoss(OutsideSize(), penalty)
    bounds = torch.tensor([[-INF, INF], [-INF, INF], [-INF, 0.0]])[None, :, None]
    after = descend(loss, logits, bounds, region, rate=300.0)[0, 2]
    inside = region[0, 2] > 0
    torch.testing.assert_close(after[inside], torch.full((36,), 1 / 3))
    assert after[~inside].sum() < 0.1 * 108 / 3


@pytest.mark.parametrize("penalty", PENALTIES)
def test_missing_strips_cost_nothing_and_have_no_gradient(penalty):
    torch.manual_seed(0)
    region, logits = boxes(), torch.randn(2, 3, 12, 12, requires_grad=True)
    loss = ConstraintLoss(BoxStrips(3), penalty)
    value = loss(logits, bounds_of(region), region=region)
    (gradient,) = torch.autograd.grad(value, logits)
    assert math.isfinite(value.item())
    assert bool(gradient.isfinite().all())
    alone = [loss(logits[i : i + 1], bounds_of(region)[i : i + 1], region=region[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(value, (alone[0] + alone[1]) / 2)
    assert math.isfinite(float(loss.violation))
    nothing = loss(logits, bounds_of(region), region=torch.full_like(region, 255))
    assert nothing.item() == 0
    assert torch.autograd.grad(nothing, logits)[0].abs().sum() == 0


def test_the_cost_by_hand():
    region = boxes()
    logits = torch.zeros(2, 3, 12, 12)
    value = ConstraintLoss(BoxStrips(5), QuadraticPenalty())(logits, bounds_of(region, 2.0), region=region)
    # a voxel holds 1/3: rows of 3 voxels in two strips, rows of 5; columns of 7 and 2; sample 1: lines of 6, enough
    first = [2 - 1, 2 - 1, 2 - 7 / 3, 2 - 5 / 3, 2 - 2 / 3]
    cost = sum(max(z, 0) ** 2 for z in first) / 5
    assert value.item() == pytest.approx(cost / 2, rel=1e-5)


def test_classes_take_their_own_boxes():
    torch.manual_seed(1)
    region, logits = boxes(), torch.randn(2, 3, 12, 12)
    bounds = bounds_of(region, 3.0)
    both = ConstraintLoss(BoxStrips(), QuadraticPenalty())(logits[:1], bounds[:1], region=region[:1])
    one = ConstraintLoss(BoxStrips(), QuadraticPenalty(), classes=[1])(logits[:1], bounds[:1], region=region[:1])
    other = ConstraintLoss(BoxStrips(), QuadraticPenalty(), classes=[2])(logits[:1], bounds[:1], region=region[:1])
    torch.testing.assert_close(one, both)
    assert other == 0


def test_terms_share_the_key_of_their_region():
    region = boxes()
    terms = {
        "tightness": [ConstraintLoss(BoxStrips(), QuadraticPenalty(), region_key="boxes"), 1.0],
        "size": [ConstraintLoss(Size(), QuadraticPenalty(), region_key="boxes"), 1.0],
        "whole": [ConstraintLoss(Size(), QuadraticPenalty()), 1.0],
    }
    loss = WeightedSumLoss(terms)
    assert {"boxes", "region_whole"} <= loss.target_keys()
    assert "region_size" not in loss.target_keys()
    target = {"boxes": region, "bounds_tightness": bounds_of(region, 9.0)}
    target |= {f"bounds_{term}": bounds_of(region, -INF, 1.0) for term in ("size", "whole")}
    loss(torch.zeros(2, 3, 12, 12), target)
    inside, everywhere = loss.violations["size"], loss.violations["whole"]
    assert 0 < inside < everywhere, "one measures in the boxes, the other everywhere"
    del target["boxes"]
    with pytest.raises(KeyError, match=r"term 'tightness' needs target\['boxes'\]"):
        loss(torch.zeros(2, 3, 12, 12), target)


def test_bounds_of_other_descriptors_are_not_spread():
    with pytest.raises(ValueError, match=r"bounds of 'size' must be \(B, K, M, 2\)"):
        ConstraintLoss(Size(), QuadraticPenalty())(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 2, 2))
