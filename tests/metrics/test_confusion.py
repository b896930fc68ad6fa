# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from wss_monai.metrics import confusion_matrix, summarize_confusion

NAMES = ["background", "RV", "LV"]


def test_a_counted_matrix():
    label = np.array([[0, 0, 1], [1, 2, 255]])
    pred = np.array([[0, 1, 1], [0, 2, 2]])
    assert confusion_matrix(pred, label, 3).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert confusion_matrix(pred, np.full_like(label, 255), 3).tolist() == [[0] * 3] * 3
    assert confusion_matrix(pred.astype(np.uint8), label.astype(np.uint8), 17).sum() == 5  # 17 * 17 > 255


def test_pooled_iou_by_hand():
    """Background 1 of 3, RV 1 of 3, LV 1 of 1; a second volume is added voxel by voxel, not averaged."""
    first = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    summary = summarize_confusion(first, NAMES)
    assert summary["iou_pooled"] == pytest.approx({"mean": 5 / 9, "background": 1 / 3, "RV": 1 / 3, "LV": 1.0})
    assert summary["confusion"] == first.tolist()
    assert summary["classes_never_seen"] == []
    second = np.array([[90, 0, 0], [0, 0, 0], [9, 0, 0]])
    pooled = summarize_confusion(first + second, NAMES)["iou_pooled"]
    assert pooled == pytest.approx(
        {"mean": (91 / 102 + 1 / 3 + 0.1) / 3, "background": 91 / 102, "RV": 1 / 3, "LV": 0.1}
    )


@pytest.mark.parametrize(
    ("matrix", "never"),
    [
        ([[5, 0, 0], [0, 3, 0], [2, 0, 0]], []),  # LV is there and missed
        ([[5, 0, 2], [0, 3, 0], [0, 0, 0]], []),  # LV is predicted where there is none
        ([[5, 0, 0], [0, 3, 0], [0, 0, 0]], ["LV"]),  # LV is nowhere
    ],
)
def test_a_class_without_a_true_positive_counts_as_0(matrix, never):
    summary = summarize_confusion(np.array(matrix), NAMES)
    assert summary["iou_pooled"]["LV"] == 0
    assert summary["iou_pooled"]["RV"] == 1
    assert summary["iou_pooled"]["mean"] == pytest.approx((summary["iou_pooled"]["background"] + 1) / 3)
    assert summary["classes_never_seen"] == never


def test_nothing_known():
    summary = summarize_confusion(np.zeros((3, 3), int), NAMES)
    assert set(summary["iou_pooled"].values()) == {0.0}
    assert summary["classes_never_seen"] == NAMES


def test_refusals():
    with pytest.raises(ValueError, match=r"prediction has shape \(2, 2\) and label \(2, 3\)"):
        confusion_matrix(np.zeros((2, 2), int), np.zeros((2, 3), int), 3)
    with pytest.raises(ValueError, match=r"prediction holds the values \[3\]"):
        confusion_matrix(np.full((2, 2), 3), np.zeros((2, 2), int), 3)
    with pytest.raises(ValueError, match=r"label holds the values \[7\]"):
        confusion_matrix(np.zeros((2, 2), int), np.full((2, 2), 7), 3)
    with pytest.raises(ValueError, match=r"must be 3 x 3, got \(2, 2\)"):
        summarize_confusion(np.zeros((2, 2)), NAMES)
