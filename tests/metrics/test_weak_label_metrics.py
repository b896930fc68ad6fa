# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from wss_monai.metrics import box_iou, stroke_metrics, summarize_weak_labels, tags_right

NAMES = ["background", "RV", "LV"]


def test_shares_of_the_strokes_by_hand():
    drawn = np.full((4, 4, 2), 255)
    drawn[0, :, 0] = [0, 0, 0, 0]
    drawn[1, :, 0] = [1, 1, 2, 255]
    prediction = np.zeros((4, 4, 2), int)
    prediction[0, 3, 0] = 1  # one of four background voxels is wrong
    prediction[1, :, 0] = [1, 2, 2, 2]  # one of two RV voxels, the one LV voxel; the last one nobody drew
    prediction[3] = 1  # nobody drew there
    rows = stroke_metrics(prediction, drawn, NAMES)
    assert rows[0] == {"drawn_voxels": 2, "stroke_recall": 0.5, "background_recall": 0.75, "strokes_right": 5 / 7}
    assert rows[1] == {"drawn_voxels": 1, "stroke_recall": 1.0, "background_recall": 0.75, "strokes_right": 5 / 7}


def test_what_is_not_drawn_is_left_out():
    prediction = np.zeros((3, 3), np.uint8)
    nothing = np.full((3, 3), 255, np.uint8)
    assert stroke_metrics(prediction, nothing, NAMES) == [{"drawn_voxels": 0}] * 2
    nothing[0, 0] = 2
    assert stroke_metrics(prediction, nothing, NAMES)[0] == {"drawn_voxels": 0, "strokes_right": 0.0}
    with pytest.raises(ValueError, match="bring both to one grid"):
        stroke_metrics(prediction, nothing[:2], NAMES)
    with pytest.raises(ValueError, match=r"weak_label holds the values \[7\]"):
        stroke_metrics(prediction, np.full((3, 3), 7), NAMES)


def test_rectangles_against_boxes_by_hand():
    boxes = np.zeros((3, 6, 6, 2), np.uint8)
    boxes[1, 0:4, 0:4, 0] = 1  # 16 voxels
    prediction = np.zeros((6, 6, 2), int)
    prediction[0, 0, 0] = prediction[1, 3, 0] = 1  # their rectangle: 2 x 4, inside
    prediction[5, 5, 1] = 1  # a voxel in a slice without a box
    assert box_iou(prediction, boxes) == [pytest.approx(8 / 17), 1.0]
    boxes[2] = 255
    assert box_iou(prediction, boxes)[1] is None
    turned = [np.moveaxis(volume, 2, 0) for volume in (prediction, *boxes)]
    assert box_iou(turned[0], np.stack(turned[1:]), slice_axis=0)[0] == pytest.approx(8 / 17)


def test_tags_of_slices_and_of_volumes():
    prediction = np.zeros((2, 2, 3), int)
    prediction[0, 0, 1] = 1
    slices = [[1, 0, -1], [1, 1, -1], [1, 1, -1]]
    assert tags_right(prediction, None, slices, 3) == [2 / 3, None]
    assert tags_right(prediction, [-1, 1, 1], None, 3) == [1.0, 0.0]
    assert tags_right(prediction, [-1, -1, -1], None, 3) == [None, None]
    assert tags_right(prediction, None, None, 3) == [None, None]
    with pytest.raises(ValueError, match="2 rows and the prediction 3 slices"):
        tags_right(prediction, None, slices[:2], 3)


def test_means_over_cases_first_then_classes():
    whole = {"a": {"strokes_right": 0.5}, "b": {"strokes_right": 1.0}, "c": {}}
    shares = [("a", "RV", 0.2), ("a", "LV", 1.0), ("b", "RV", 0.6)]
    rows = [{"case": c, "class": k, "stroke_recall": v, **whole[c]} for c, k, v in shares]
    rows += [{"case": "b", "class": "LV", **whole["b"]}, {"case": "c", "class": "RV"}]
    summary = summarize_weak_labels(rows, NAMES)
    assert summary == {
        "n_drawn": 2,
        "stroke_recall": {"mean": pytest.approx(0.7), "RV": pytest.approx(0.4), "LV": 1.0},
        "strokes_right": {"mean": 0.75},
    }
    assert summarize_weak_labels([{"case": "c", "class": "RV"}], NAMES) == {}
