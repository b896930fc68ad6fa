# SPDX-License-Identifier: Apache-2.0
"""MONAI's ``reduction``, and what MONAI's own losses make of unlabelled voxels."""

from __future__ import annotations

import inspect
import math

import monai.losses
import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceLoss
from monai.utils import LossReduction
from torch import Tensor

from wss_monai.functional.descriptors import Size
from wss_monai.losses import (
    ConsistencyLoss,
    ConstraintLoss,
    EntropyLoss,
    LogBarrierExtension,
    PartialCrossEntropyLoss,
    PartialDiceCELoss,
    PartialDiceLoss,
    QuadraticPenalty,
    WeightedSumLoss,
)


def batch() -> tuple[Tensor, Tensor]:
    """Logits (3, 4, 5, 6) and scribbles; nothing is drawn in the last sample."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, 4, (3, 1, 5, 6), generator=generator).to(torch.uint8)
    index[torch.rand(index.shape, generator=generator) < 0.5] = 255
    index[-1] = 255
    return torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64), index


def test_cross_entropy_is_that_of_torch():
    logits, index = batch()
    for reduction in ("none", "sum", "mean"):
        expected = F.cross_entropy(logits, index[:, 0].long(), ignore_index=255, reduction=reduction)
        torch.testing.assert_close(PartialCrossEntropyLoss(reduction=reduction)(logits, index), expected)


@pytest.mark.parametrize("per_class", [False, True])
def test_cross_entropy_of_each_sample(per_class):
    logits, index = batch()
    settings = {"per_sample": True, "per_class": per_class}
    each = PartialCrossEntropyLoss(**settings, reduction="none")(logits, index)
    alone = [PartialCrossEntropyLoss(per_class=per_class)(logits[i : i + 1], index[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(each, torch.stack(alone))
    assert each[2] == 0
    torch.testing.assert_close(PartialCrossEntropyLoss(**settings, reduction="sum")(logits, index), each.sum())
    torch.testing.assert_close(PartialCrossEntropyLoss(**settings)(logits, index), each.sum() / 2)


@pytest.mark.parametrize("reduction", [*LossReduction, "mean", "none", "sum"])
@pytest.mark.parametrize("background", [True, False])
def test_dice_is_that_of_monai(reduction, background):
    logits, index = batch()
    logits, index = logits.float(), index
    theirs = DiceLoss(background, True, softmax=True, ignore_index=255, reduction=reduction)
    ours = PartialDiceLoss(background, reduction=reduction)(logits, index)
    torch.testing.assert_close(ours, theirs(logits, index.long()), rtol=1e-5, atol=1e-6)
    assert ours.shape == ((3, 4 if background else 3, 1, 1) if reduction == "none" else ())


def test_dice_and_cross_entropy_are_reduced_alike():
    logits, index = batch()
    expected = PartialDiceLoss(reduction="sum")(logits, index) + PartialCrossEntropyLoss(reduction="sum")(logits, index)
    torch.testing.assert_close(PartialDiceCELoss(reduction="sum")(logits, index), expected)


def test_what_monai_lacks():
    """If this fails, MONAI has caught up: say so in README.md and docs/how-to/plain-torch.md."""
    losses = {name: value for name, value in vars(monai.losses).items() if inspect.isclass(value)}
    takes = {name for name in losses if "ignore_index" in inspect.signature(losses[name].__init__).parameters}
    assert takes - {"Dice"} == {"AsymmetricUnifiedFocalLoss", "DiceLoss", "FocalLoss", "TverskyLoss"}
    logits, index = batch()
    with pytest.raises(TypeError, match="ignore_index"):
        DiceCELoss(to_onehot_y=True, softmax=True, ignore_index=255)
    with pytest.raises(RuntimeError, match="out of bounds"):
        DiceCELoss(to_onehot_y=True, softmax=True)(logits, index.long())
    nothing = torch.full_like(index, 255)
    assert F.cross_entropy(logits, nothing[:, 0].long(), ignore_index=255).isnan()
    assert PartialDiceCELoss()(logits, nothing) == 0


@pytest.mark.parametrize("published", [False, True])
def test_a_constraint_of_each_sample(published):
    logits, _ = batch()
    bounds = torch.tensor([[5.0, 9.0], [-math.inf, 4.0], [2.0, math.inf], [-math.inf, math.inf]])
    bounds = bounds.repeat(3, 1, 1)[:, :, None]
    bounds[-1] = torch.tensor([-math.inf, math.inf])
    settings = {"descriptor": Size(), "penalty": QuadraticPenalty(), "published": published}
    each = ConstraintLoss(**settings, reduction="none")(logits, bounds)
    alone = [ConstraintLoss(**settings)(logits[i : i + 1], bounds[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(each, torch.stack(alone))
    assert each[0] > 0 and each[2] == 0
    torch.testing.assert_close(ConstraintLoss(**settings, reduction="sum")(logits, bounds), each.sum())
    torch.testing.assert_close(ConstraintLoss(**settings)(logits, bounds), each.sum() / 3)


def test_a_constraint_of_each_group_in_float16():
    logits = batch()[0].half().requires_grad_()
    bounds, group = torch.tensor([1.0, 2.0]).repeat(3, 4, 1, 1), torch.tensor([0, 1, 1])
    each = ConstraintLoss(Size(), LogBarrierExtension(1e6), reduction="none")(logits, bounds, group=group)
    assert each.shape == (2,)
    each.sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad.abs().sum() > 0


def test_unsupervised_terms_of_each_voxel():
    student, teacher = batch()[0], batch()[0].flip(0)
    p, q = student.softmax(1), teacher.softmax(1)
    for loss, arguments, expected in (
        (EntropyLoss, (student,), -(p * p.log()).sum(1)),
        (lambda reduction: ConsistencyLoss("mse", reduction=reduction), (student, teacher), (p - q) ** 2),
        (lambda reduction: ConsistencyLoss("kl", reduction=reduction), (student, teacher), (q * (q / p).log()).sum(1)),
    ):
        torch.testing.assert_close(loss(reduction="none")(*arguments), expected)
        torch.testing.assert_close(loss(reduction="sum")(*arguments), expected.sum())
        torch.testing.assert_close(loss(reduction="mean")(*arguments), expected.mean())


@pytest.mark.parametrize(
    ("loss", "settings", "message"),
    [
        (PartialCrossEntropyLoss, {"reduction": "average"}, r"one of \['mean', 'sum', 'none'\], got 'average'"),
        (PartialCrossEntropyLoss, {"reduction": "sum", "per_class": True}, "per_class without per_sample"),
        (PartialDiceLoss, {"reduction": None}, "got None"),
        (PartialDiceCELoss, {"reduction": "none"}, "differ in shape"),
        (EntropyLoss, {"reduction": 1}, "got 1"),
        (ConsistencyLoss, {"reduction": ""}, "got ''"),
    ],
)
def test_other_words_are_refused(loss, settings, message):
    with pytest.raises(ValueError, match=message):
        loss(**settings)


def test_a_sum_refuses_what_is_no_scalar():
    with pytest.raises(ValueError, match="term 'size' has reduction 'none'"):
        WeightedSumLoss({"size": (ConstraintLoss(Size(), QuadraticPenalty(), reduction="none"), 1.0)})
    monai = WeightedSumLoss({"dice": (DiceLoss(softmax=True, reduction="none"), 1.0)})  # of these it takes the mean
    logits = batch()[0]
    one_hot = F.one_hot(logits.argmax(1), 4).movedim(-1, 1)
    torch.testing.assert_close(monai(logits, {"label": one_hot}), DiceLoss(softmax=True)(logits, one_hot).double())
