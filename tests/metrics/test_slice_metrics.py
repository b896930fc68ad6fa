# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric

from wss_monai.metrics import slice_metrics, summarize_slices, volume_metrics
from wss_monai.metrics.overlap import overlap

NAMES = ["background", "A", "B"]


def test_overlap_by_hand():
    dice, iou = overlap([4, 4, 0, 3], [4, 2, 0, 0], [4, 1, 0, 0])
    assert dice.tolist() == pytest.approx([1, 2 / 6, 1, 0])
    assert iou.tolist() == pytest.approx([1, 1 / 5, 1, 0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_by_hand_along_each_axis(axis):
    pred, label = np.zeros((2, 3, 4, 4), np.uint8)
    pred[0, :2, :2], label[0, :2, 1:3] = 1, 1  # slice 0: 4 and 4 voxels of A, 2 of them shared
    pred[1, 0, :3] = 1  # slice 1: A predicted alone
    label[2] = 255  # slice 2: unknown
    rows = slice_metrics(np.moveaxis(pred, 0, axis), np.moveaxis(label, 0, axis), axis, NAMES)
    a = [row for row in rows if row["class"] == "A"]
    assert [(r["slice"], r["dice"], r["iou"], r["size_difference"], r["empty"]) for r in a] == [
        (0, 0.5, pytest.approx(1 / 3), 0, 0),
        (1, 0, 0, 3, 0),
    ]
    assert [r["positive"] for r in a] == [1, 0]
    b = [row for row in rows if row["class"] == "B"]
    assert [(r["slice"], r["dice"], r["iou"], r["size_difference"], r["empty"]) for r in b] == [
        (0, 1, 1, 0, 1),
        (1, 1, 1, 0, 1),
    ]


def test_unknown_voxels_are_in_neither_mask():
    pred, label = np.ones((2, 2, 1), np.uint8), np.array([[1, 255], [255, 0]], np.uint8)[..., None]
    (a, _) = slice_metrics(pred, label, 2, NAMES)
    assert (a["dice"], a["size_difference"]) == (pytest.approx(2 / 3), 1)


def test_a_2d_map_is_one_slice_and_scores_like_a_volume():
    R = np.random.RandomState(1)
    pred, label = R.randint(0, 3, (2, 9, 8)).astype(np.uint8)
    rows, of_volume = slice_metrics(pred, label, 2, NAMES), volume_metrics(pred, label, (1, 1), NAMES)
    assert [(r["slice"], r["dice"], r["iou"]) for r in rows] == [(0, v["dice"], v["iou"]) for v in of_volume]


def test_agrees_with_monai():
    R = np.random.RandomState(0)
    pred, label = R.randint(0, 3, (2, 8, 8, 5)).astype(np.uint8)
    hot = [torch.from_numpy(np.stack([m == k for k in range(3)]).astype(np.float32)) for m in (pred, label)]
    metric = DiceMetric(include_background=False)
    theirs = metric(*(h.movedim(3, 0) for h in hot))
    ours = np.array([row["dice"] for row in slice_metrics(pred, label, 2, NAMES)]).reshape(2, 5).T
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)


def row(name, dice, difference, empty=0, positive=None):
    state = {"empty": empty, "positive": int(not empty) if positive is None else positive}
    return {"class": name, "dice": dice, "iou": dice / (2 - dice), "size_difference": difference, **state}


def test_positive_slices_are_those_of_the_reference():
    """A slice with a false alarm lowers the mean of what one of the masks shows, but is no positive slice."""
    rows = [row("A", 0.8, 1), row("A", 0.6, 1), row("A", 0.0, 4, positive=0), row("A", 1.0, 0, 1), row("B", 0, 3, 0, 0)]
    summary = summarize_slices(rows)
    assert summary["slice_dice_positive"] == pytest.approx({"mean": 0.7, "A": 0.7})
    assert summary["slice_iou_positive"]["A"] == pytest.approx((0.8 / 1.2 + 0.6 / 1.4) / 2)
    assert summary["slice_dice_shown"] == pytest.approx({"mean": 1.4 / 6, "A": 1.4 / 3, "B": 0})
    assert summary["slice_dice"] == pytest.approx({"mean": 0.3, "A": 0.6, "B": 0})


def test_summary_over_slices_then_classes_with_and_without_empty_slices():
    rows = [row("A", 0.5, -4), row("A", 0.7, 2), row("A", 1.0, 0, 1), row("A", 1.0, 0, 1), row("B", 1.0, 0, 1)]
    summary = summarize_slices(rows)
    assert summary["slice_dice"] == pytest.approx({"mean": 0.9, "A": 0.8, "B": 1.0})
    assert summary["slice_dice_shown"] == pytest.approx({"mean": 0.6, "A": 0.6})
    assert summary["slice_iou_shown"]["A"] == pytest.approx((0.5 / 1.5 + 0.7 / 1.3) / 2)
    assert summary["size_difference"] == pytest.approx({"mean": -0.25, "A": -0.5, "B": 0})
    assert summary["size_difference_abs"] == pytest.approx({"mean": 0.75, "A": 1.5, "B": 0})
    assert summarize_slices([]) == {}
    assert "slice_dice_shown" not in summarize_slices(rows[-1:])


def test_misfits_are_refused():
    zeros = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(ValueError, match="slice_axis must be 0, 1 or 2, got 3"):
        slice_metrics(zeros, zeros, 3, NAMES)
    with pytest.raises(ValueError, match="bring both to the image's grid"):
        slice_metrics(zeros, zeros[:1], 2, NAMES)
    with pytest.raises(ValueError, match=r"label holds the values \[7\]"):
        slice_metrics(zeros, zeros + np.uint8(7), 2, NAMES)
