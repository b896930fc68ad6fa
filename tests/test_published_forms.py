# SPDX-License-Identifier: Apache-2.0
"""Options that turn a part into its published form, each against the published formula by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from wss_monai.data.phantoms.toy import Circles
from wss_monai.functional.descriptors import Centroid, Size
from wss_monai.functional.weak.generators import centroid_blob
from wss_monai.handlers import AveragedNetwork
from wss_monai.losses import (
    ClassificationLoss,
    ConsistencyLoss,
    ConstraintLoss,
    EquivariantCAMLoss,
    LocalIICLoss,
    PartialCrossEntropyLoss,
    QuadraticPenalty,
    SemiSupervisedLoss,
    WithinModalityEquivarianceLoss,
)
from wss_monai.metrics import summarize_confusion
from wss_monai.transforms import BatchAugment, JitterAugment, LabelBounds, RandEquivariantTransform, RandFlips


def one_hot(index: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.stack([index[:, 0] == k for k in range(classes)], 1).double()


@pytest.mark.parametrize("classes", [None, [1, 2]])
def test_the_floor_of_the_tutorials_cross_entropy(classes):
    """-sum m log(p + 1e-10) / (sum m + 1e-10) at temperature 5, value and gradient."""
    torch.manual_seed(0)
    logits = (5 * 4 * torch.randn(3, 3, 5, 6, dtype=torch.float64)).requires_grad_()
    index = torch.randint(0, 3, (3, 1, 5, 6), dtype=torch.uint8)
    mask = one_hot(index, 3)
    if classes is not None:
        mask[:, 0] = 0
    published = -(mask * (torch.softmax(logits, 1) + 1e-10).log()).sum() / (mask.sum() + 1e-10)
    loss = PartialCrossEntropyLoss(classes=classes, floor=1e-10)(logits, index)
    torch.testing.assert_close(loss, published)
    both = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, published)]
    torch.testing.assert_close(*both)
    assert float(PartialCrossEntropyLoss(classes=classes)(logits.detach(), index)) > float(loss.detach())


def test_a_voxel_far_below_the_floor_has_no_gradient():
    logits = torch.tensor([[[40.0], [0.0]]], requires_grad=True)
    target = torch.ones(1, 1, 1, dtype=torch.uint8)
    pulls = []
    for floor in (0.0, 1e-10):
        pulls.append(torch.autograd.grad(PartialCrossEntropyLoss(floor=floor)(logits, target), logits)[0].abs().max())
    assert float(pulls[0]) == pytest.approx(1.0) and float(pulls[1]) < 1e-6


@pytest.mark.parametrize(
    "settings", [{"per_sample": True}, {"per_class": True}, {"per_sample": True, "per_class": True}]
)
def test_a_floor_of_next_to_nothing_changes_no_mean(settings):
    torch.manual_seed(1)
    logits, index = torch.randn(3, 3, 4, 4), torch.randint(0, 3, (3, 1, 4, 4), dtype=torch.uint8)
    index[torch.rand(index.shape) < 0.3] = 255
    index[2] = 255
    plain = PartialCrossEntropyLoss(**settings)(logits, index)
    torch.testing.assert_close(PartialCrossEntropyLoss(floor=1e-12, **settings)(logits, index), plain)


@pytest.mark.parametrize("floor", [-1e-10, 1.0, True, "1e-10"])
def test_floors_that_are_none_are_refused(floor):
    with pytest.raises(ValueError, match="floor must be a number from 0 to below 1"):
        PartialCrossEntropyLoss(floor=floor)


def test_the_tutorials_sum_over_the_batch():
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 4, 4)
    bounds = torch.tensor([2.0, 5.0]).repeat(3, 2, 1, 1)
    mean, total = (
        ConstraintLoss(Size(), QuadraticPenalty(), published=True, reduction=word)(logits, bounds)
        for word in ("mean", "sum")
    )
    sizes = torch.softmax(logits, 1).flatten(2).sum(-1)
    expected = ((sizes - 5).relu() ** 2 + (2 - sizes).relu() ** 2).sum() / 16
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(mean * 3, total)
    with pytest.raises(ValueError, match="reduction"):
        ConstraintLoss(Size(), QuadraticPenalty(), reduction="median")


def test_a_truncated_centroid():
    label = np.zeros((8, 8), np.uint8)
    label[2:6, 2:6] = 1  # centroid 3.5: cut to 3, rounded to 4
    cut = centroid_blob(label, width=0, truncated=True)
    assert np.argwhere(cut == 1).tolist() == [[3, 3]]
    assert np.argwhere(centroid_blob(label, width=0) == 1).tolist() == [[4, 4]]


def test_weak_ellipses_of_a_tenth_of_the_half_axes():
    """Numbers of pixels as Pillow draws them; none where both half axes are below 10."""
    published = {(0, 0): 0, (0, 1): 3, (0, 2): 5, (1, 1): 5, (1, 2): 11, (2, 2): 21}
    toy, seen = Circles((256, 256), 25, ellipses=True, small_weak=True), set()
    for index in range(40):
        picture = toy.picture(0, "train", index)
        rows, columns = (np.ptp(axis) // 2 for axis in np.nonzero(picture.label))
        tenths = tuple(sorted((int(rows) // 10, int(columns) // 10)))
        assert (picture.weak_label == 1).sum() == published[tenths]
        assert picture.label[picture.weak_label == 1].all()
        seen.add(tenths)
    assert len(seen) >= 5


def test_bounds_around_the_measure_of_an_absent_class():
    label = torch.zeros(1, 4, 4, dtype=torch.uint8)
    label[0, :2, :2] = 1
    relative = LabelBounds(["bg", "a", "b"], 0.1, absent="measured")(label)
    torch.testing.assert_close(relative[1, 0], torch.tensor([3.6, 4.4]))
    assert relative[2, 0].tolist() == [0, 0] and relative[0, 0].tolist() == [-math.inf, math.inf]
    absolute = LabelBounds(["bg", "a", "b"], 7, "absolute", absent="measured")(label)
    assert absolute[2, 0].tolist() == [0, 7]
    centroid = LabelBounds(["bg", "a", "b"], 0.1, descriptor=Centroid(), absent="measured")(label)
    assert centroid[2].tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match="absent must be"):
        LabelBounds(["bg", "a"], absent="published")


def test_classes_without_a_true_positive_are_dropped():
    matrix = np.array([[6, 0, 2], [0, 0, 2], [0, 0, 2]])
    kept = summarize_confusion(matrix, ["a", "b", "c"])["iou_pooled"]
    dropped = summarize_confusion(matrix, ["a", "b", "c"], drop_missed=True)["iou_pooled"]
    assert kept["mean"] == pytest.approx((0.75 + 0 + 1 / 3) / 3)
    assert dropped["mean"] == pytest.approx((0.75 + 1 / 3) / 2) and dropped["b"] == 0
    assert summarize_confusion(np.zeros((2, 2)), ["a", "b"], drop_missed=True)["iou_pooled"]["mean"] == 0


def test_zeros_from_outside_of_the_frame_are_compared():
    torch.manual_seed(0)
    raw = torch.randn(2, 2, 2, 8, 8)
    view = RandEquivariantTransform("translation", shift=0.5)(2, (8, 8), 3)
    target = {"slice_tags": torch.ones(2, 2, dtype=torch.int8), "view": view}
    within = WithinModalityEquivarianceLoss("mean", "all")
    terms = {"classification": (ClassificationLoss(), 1.0), "within": (within, 1.0)}
    losses = {word: EquivariantCAMLoss(1, terms, 0, border=word) for word in ("masked", "compared")}
    values = {word: float(loss(raw, target) - loss.parts["classification"]) for word, loss in losses.items()}
    maps = [(m := one[:, 1].relu()) - m.amin((1, 2), keepdim=True) for one in raw]
    p, q = (((m - 1e-8).relu() / (m.amax((1, 2), keepdim=True) + 1e-8)) for m in maps)
    moved = view(p[:, None])[:, 0]
    assert values["compared"] == pytest.approx(float((moved - q).square().mean()), rel=1e-4)
    assert values["masked"] != pytest.approx(values["compared"], rel=1e-2)
    with pytest.raises(ValueError, match="border must be"):
        EquivariantCAMLoss(1, terms, border="open")


@pytest.mark.parametrize("family", ["flip", "scaling"])
def test_one_flip_and_one_scale_a_batch(family):
    draw = RandEquivariantTransform(family, one_a_batch=True)
    for seed in range(6):
        matrix = draw(5, (8, 8), seed).matrix
        assert (matrix == matrix[:1]).all()
    free = [RandEquivariantTransform(family)(5, (8, 8), seed).matrix for seed in range(6)]
    assert any((matrix != matrix[:1]).any() for matrix in free)


def test_a_teacher_with_statistics_of_its_own_shrinks():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = AveragedNetwork(network, decay=0.5, own_statistics=True, shrink=0.1)
    assert average.network.training
    first = network[0].weight.detach().clone()
    network[1].running_mean.fill_(9.0)
    average.update()
    torch.testing.assert_close(average.network[0].weight, 0.9 * first)
    assert average.network[1].running_mean.tolist() == [0, 0]
    with torch.no_grad():
        network[0].weight.zero_()
    average.update()  # half of what was there, less a tenth
    torch.testing.assert_close(average.network[0].weight, 0.9 * 0.5 * 0.9 * first)
    with pytest.raises(ValueError, match="shrink must be"):
        AveragedNetwork(network, shrink=1.0)


def test_information_of_the_outputs_is_that_of_the_moved_probabilities():
    torch.manual_seed(0)
    labelled, first, second = (torch.randn(2, 3, 6, 6, requires_grad=True) for _ in range(3))
    view = RandFlips()(2, (6, 6), 1)
    loss = SemiSupervisedLoss(
        {"supervised": [PartialCrossEntropyLoss(), 1.0]},
        consistency=[ConsistencyLoss(), 10.0],
        output_information=[LocalIICLoss(padding=1), 0.1],
    )
    assert loss.needs_first and loss.needs_second and not loss.informative
    target = {"weak_label": torch.zeros(4, 1, 6, 6, dtype=torch.uint8), "view": view}
    total = loss({"labelled": labelled, "first": first, "second": second}, target)
    p, q = torch.softmax(second, 1), view(torch.softmax(first, 1))
    torch.testing.assert_close(loss.parts["output_information"], LocalIICLoss(padding=1)(p, q))
    total.backward()
    assert all(float(logits.grad.abs().max()) > 0 for logits in (first, second))


def augmented(image: torch.Tensor, kind: type[BatchAugment] = JitterAugment, **settings) -> torch.Tensor:
    plain = {"flips": (), "turns": None, "rotation": 0.0, "scaling": 0.0, "translation": 0.0, "gamma": 0.0, "gain": 0.0}
    plain |= {"noise": 0.0, "affine_probability": 1.0, "intensity_probability": 1.0}
    batch = {"image": image.clone(), "spacing": torch.ones(len(image), 2)}
    return kind(2, **{**plain, **settings})(batch, 5)["image"]


def test_contrast_changes_about_the_mean_and_values_stay_in_their_range():
    image = torch.rand(4, 1, 8, 8) * 0.4 + 0.3
    out = augmented(image, contrast=0.5)
    mean = image.flatten(1).mean(1).view(-1, 1, 1, 1)
    factor = ((out - mean) / (image - mean)).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-3, atol=1e-3)
    assert (factor >= 0.5).all() and (factor <= 1.5).all() and factor[:, 0].unique().numel() == 4
    bright = augmented(torch.rand(6, 1, 8, 8), contrast=1.0, gain=0.5)
    assert float(bright.min()) >= 0 and float(bright.max()) <= 1


def test_rotation_to_the_nearest_pixel_invents_no_value():
    image = (torch.rand(3, 1, 16, 16) > 0.5).float()
    assert augmented(image, contrast=0.0, rotation=45.0).unique().tolist() == [0, 1]
    assert augmented(image, BatchAugment, rotation=45.0).unique().numel() > 2
    with pytest.raises(ValueError, match="contrast must be between 0 and 1"):
        JitterAugment(2, contrast=1.5)
