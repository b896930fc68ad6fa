# SPDX-License-Identifier: Apache-2.0
"""Weighted sum of named losses."""

from __future__ import annotations

import io
import math

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from wss_monai.functional.descriptors import Centroid, Size
from wss_monai.losses import (
    ConstraintLoss,
    LogBarrierExtension,
    PartialCrossEntropyLoss,
    PartialDiceLoss,
    QuadraticPenalty,
    WeightedSumLoss,
)

INF = math.inf


def make(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 5, generator=generator, dtype=dtype)
    label = torch.randint(0, 3, (2, 1, 6, 5), generator=generator).to(torch.uint8)
    weak = torch.where(torch.rand(label.shape, generator=generator) > 0.3, 255, label.long()).to(torch.uint8)
    size = torch.tensor([[-INF, INF], [5.0, 8.0], [-INF, 12.0]]).view(1, 3, 1, 2).repeat(2, 1, 1, 1)
    centroid = torch.tensor([1.0, 2.0]).repeat(2, 3, 2, 1)
    target = {"label": label, "weak_label": weak, "bounds_size": size, "bounds_middle": centroid}
    return logits, target | {"spacing": torch.tensor([[1.0, 2.0]] * 2)}


def terms() -> dict:
    return {
        "partial": (PartialCrossEntropyLoss(), 1.0),
        "size": (ConstraintLoss(Size(), LogBarrierExtension(5.0)), 0.01),
        "middle": (ConstraintLoss(Centroid(), QuadraticPenalty()), 0.5),
    }


def alone(logits, target, temperature: float = 1.0) -> dict[str, torch.Tensor]:
    parts = {name: loss for name, (loss, _) in terms().items()}
    logits = logits * temperature
    return {
        "partial": parts["partial"](logits, target["weak_label"]),
        "size": parts["size"](logits, target["bounds_size"]),
        "middle": parts["middle"](logits, target["bounds_middle"]),
    }


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_sum_and_parts(temperature):
    logits, target = make()
    loss = WeightedSumLoss(terms(), temperature=temperature)
    logits.requires_grad_()
    total = loss(logits, target)
    expected = alone(logits, target, temperature)
    torch.testing.assert_close(total, expected["partial"] + 0.01 * expected["size"] + 0.5 * expected["middle"])
    assert total.shape == ()
    assert list(loss.parts) == ["partial", "size", "middle"]
    for name, value in expected.items():
        torch.testing.assert_close(loss.parts[name], value.detach())
        assert not loss.parts[name].requires_grad


def test_violations_of_the_constraints_alone():
    logits, target = make()
    loss = WeightedSumLoss(terms())
    loss(logits, target)
    assert sorted(loss.violations) == ["middle", "size"]
    constraint = terms()["middle"][0]
    constraint(logits, target["bounds_middle"])
    assert loss.violations["middle"] == constraint.violation > 0


def test_gradcheck():
    logits, target = make()
    assert torch.autograd.gradcheck(
        lambda z: WeightedSumLoss(terms(), temperature=2.0)(z, target), logits.requires_grad_()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_autocast_and_half_logits(dtype):
    logits, target = make(torch.float32)
    logits = logits.to(dtype)
    loss = WeightedSumLoss(terms() | {"dice": (PartialDiceLoss(), 1.0)}, temperature=5.0)
    reference = loss(logits.float(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(logits, target)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, reference, rtol=0, atol=0)


@pytest.mark.parametrize(
    "monai_loss",
    [DiceCELoss(to_onehot_y=True, softmax=True), DiceLoss(to_onehot_y=True, softmax=True, reduction="none")],
)
def test_a_monai_loss_is_a_term(monai_loss):
    logits, target = make()
    loss = WeightedSumLoss({"dense": (monai_loss, 2.0)}, temperature=3.0)
    expected = 2 * monai_loss(3 * logits, target["label"]).mean()
    torch.testing.assert_close(loss(logits, target), expected)
    assert loss.target_keys() == {"label"}
    other = WeightedSumLoss({"dense": (monai_loss, 2.0)}, label_key="truth")
    assert other.target_keys() == {"truth"}
    with pytest.raises(KeyError, match=r"term 'dense' needs target\['truth'\]; the target holds \['bounds_middle'"):
        other(logits, target)


def test_missing_bounds_are_named():
    logits, target = make()
    del target["bounds_size"]
    with pytest.raises(KeyError, match=r"term 'size' needs target\['bounds_size'\]"):
        WeightedSumLoss(terms())(logits, target)


def test_optional_keys_may_be_missing():
    logits, target = make()
    loss = WeightedSumLoss(terms())
    expected = loss(logits, target)
    del target["spacing"]
    torch.testing.assert_close(loss(logits, target), expected)


def test_groups_reach_their_own_term():
    logits, target = make()
    loss = WeightedSumLoss({"ml": (ConstraintLoss(Size(), QuadraticPenalty()), 1.0)})
    target["bounds_ml"] = target["bounds_size"]
    target["group_ml"] = torch.tensor([3, 3])
    target["group_weight_ml"] = torch.tensor([2.0, 1.0])
    expected = ConstraintLoss(Size(), QuadraticPenalty())(
        logits, target["bounds_ml"], group=target["group_ml"], group_weight=target["group_weight_ml"]
    )
    torch.testing.assert_close(loss(logits, target), expected)


def test_keys_and_descriptors():
    loss = WeightedSumLoss(terms())
    assert {
        "weak_label",
        "bounds_size",
        "bounds_middle",
        "spacing",
        "group_size",
        "region_middle",
    } <= loss.target_keys()
    assert "label" not in loss.target_keys()
    assert loss.descriptors() == {"bounds_size": Size(), "bounds_middle": Centroid()}


def test_t_of_all_barriers():
    loss = WeightedSumLoss(terms() | {"second": (ConstraintLoss(Size(), LogBarrierExtension(2.0)), 1.0)})
    assert loss.t == 5.0
    loss.set_t(33.3)
    assert [loss.terms[name].penalty.t for name in ("size", "second")] == [33.3, 33.3]
    buffer = io.BytesIO()
    torch.save(loss.half().state_dict(), buffer)
    buffer.seek(0)
    other = WeightedSumLoss(terms() | {"second": (ConstraintLoss(Size(), LogBarrierExtension(2.0)), 1.0)})
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert other.t == 33.3
    assert WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0)}).t is None


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "terms is empty"),
        ({"a": None}, "terms is empty"),
        ({"a": (PartialCrossEntropyLoss(),)}, r"term 'a' must be \[loss module, weight >= 0\]"),
        (
            {"a": (PartialCrossEntropyLoss(), None)},
            "weight of term 'a' must be a finite .* got None",
        ),
        ({"a": (PartialCrossEntropyLoss(), True)}, "weight of term 'a' .* got True: .* such as a_weight"),
        ({"a": (PartialCrossEntropyLoss(), math.nan)}, "weight of term 'a' .* got nan"),
        ({"a": (1.0, PartialCrossEntropyLoss())}, "term 'a' must be"),
        ({"a": (PartialCrossEntropyLoss(), -1.0)}, "term 'a' must be"),
        ({"a": (PartialCrossEntropyLoss(), math.nan)}, "term 'a' must be"),
        ({"a": (PartialCrossEntropyLoss(), "much")}, "term 'a' must be"),
        ({"a": (PartialCrossEntropyLoss(), None)}, "term 'a' must be"),
    ],
)
def test_wrong_terms_are_refused(terms, message):
    with pytest.raises(ValueError, match=message):
        WeightedSumLoss(terms)


def test_none_is_no_term():
    loss = WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 0.5), "size": None})
    assert list(loss.terms) == ["partial"] == list(loss.weights) and loss.descriptors() == {}


def test_a_mixed_batch_needs_no_special_case():
    """One sample drawn densely, one with bounds alone, one with nothing: each gets the gradient of what it has."""
    logits = torch.zeros(3, 2, 4, 4, requires_grad=True)
    weak = torch.full((3, 1, 4, 4), 255, dtype=torch.uint8)
    weak[0] = 0
    bounds = torch.tensor([-INF, INF]).repeat(3, 2, 1, 1)
    bounds[1, 1, 0, 1] = 2.0
    loss = WeightedSumLoss(
        {"partial": (PartialCrossEntropyLoss(), 1.0), "size": (ConstraintLoss(Size(), LogBarrierExtension(5.0)), 1.0)}
    )
    loss(logits, {"weak_label": weak, "bounds_size": bounds}).backward()
    assert (logits.grad.abs().amax((1, 2, 3)) > 0).tolist() == [True, True, False]
