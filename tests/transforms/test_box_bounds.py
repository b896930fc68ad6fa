# SPDX-License-Identifier: Apache-2.0
"""Bounds made from boxes."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.box_descriptors import BoxStrips, OutsideSize
from wss_monai.metrics.measure import measure_prediction
from wss_monai.transforms import (
    BoxBounds,
    BoxBoundsd,
    BoxTightnessBounds,
    BoxTightnessBoundsd,
    EmptinessBounds,
    EmptinessBoundsd,
)

INF = math.inf
NAMES = ["background", "RV", "LV"]


def boxes():
    """Three slices of 8 x 8: both classes; LV at the edge; nothing known."""
    out = torch.zeros(3, 8, 8, 3, dtype=torch.uint8)
    out[1, 1:5, 2:7, 0], out[2, 2:4, 3:5, 0] = 1, 1
    out[2, 0:4, 3:5, 1] = 1
    out[..., 2] = 255
    return out


def test_tightness_where_there_is_a_whole_box():
    bounds = BoxTightnessBounds(NAMES, slice_axis=2)(boxes())
    assert bounds.shape == (3, 3, 1, 2)
    assert bounds[0, :, 0].tolist() == [[-INF, INF], [1, INF], [1, INF]]
    assert bounds[1:].isinf().all(), "a box at the edge may have been cut, and unknown is no box"
    assert BoxTightnessBounds(NAMES)(boxes()[..., :1])[1].isinf().all(), "the same for a face of a volume"


def test_nothing_outside_of_boxes_and_of_absent_classes():
    bounds = EmptinessBounds(NAMES, slice_axis=2)(boxes())
    assert bounds[..., 0, 1].tolist() == [[INF, 0, 0], [INF, INF, 0], [INF, INF, INF]]
    assert bounds[..., 0].isinf().all()
    tags = torch.tensor([[1, 1, 1], [0, 0, 1], [-1, 0, -1]])
    bounds = EmptinessBounds(NAMES, slice_axis=2)(boxes(), tags)
    assert bounds[..., 0, 1].tolist() == [[INF, 0, 0], [INF, 0, 0], [INF, 0, INF]]


def test_fractions_a_class():
    bounds = BoxBounds(NAMES, {"LV": (0.5, 0.75)}, slice_axis=2)(boxes())
    assert bounds[0, :, 0].tolist() == [[-INF, INF], [-INF, INF], [2, 3]]
    assert bounds[1, 2, 0].tolist() == [4, 6]
    with pytest.raises(ValueError, match=r"fractions name the classes \['Rv'\]"):
        BoxBounds(NAMES, {"Rv": (0.5, 0.9)})
    with pytest.raises(ValueError, match="fractions must be 0 <= lower < upper for class 'LV'"):
        BoxBounds(NAMES, {"LV": (0.9, 0.5)})


@pytest.mark.parametrize("made", [BoxBounds, BoxTightnessBounds, EmptinessBounds])
def test_boxes_need_a_channel_for_each_class(made):
    with pytest.raises(ValueError, match="boxes have 1 channels, but there are 3 classes"):
        made(NAMES)(boxes()[:1])


def test_terms_origins_and_regions():
    data = {"case": "a", "boxes": boxes(), "slice_tags": torch.full((3, 3), -1)}
    for made, term, region in (
        (BoxBoundsd(class_names=NAMES, slice_axis=2), "size", None),
        (BoxBoundsd("part", class_names=NAMES, slice_axis=2, region_key="boxes"), "part", "boxes"),
        (BoxTightnessBoundsd(class_names=NAMES, slice_axis=2, width=3), "tightness", "boxes"),
        (EmptinessBoundsd(class_names=NAMES, slice_axis=2), "outside", "boxes"),
    ):
        out = made(data)
        assert (made.term, made.origin, made.region_key) == (term, "box", region)
        assert out[f"bounds_{term}"].shape == (3, 3, 1, 2)
    assert BoxTightnessBoundsd(class_names=NAMES, width=3).descriptor == BoxStrips(3)


def test_predictions_are_measured_in_the_boxes():
    prediction = torch.zeros(8, 8, 3, dtype=torch.long)
    prediction[1:5, 2:6, 0] = 1  # the last column of the box is empty
    prediction[7, 7, 0] = 2
    tight = BoxTightnessBounds(NAMES, width=4, slice_axis=2)(boxes())
    measure, bounds, units = measure_prediction(prediction, tight, BoxStrips(4), (1, 1, 1), 2, boxes())
    assert units == [0, 1, 2]
    found = measure[0, 1][bounds[0, 1].isfinite().any(-1)]
    assert found.tolist() == [4, 4, 0]
    assert measure[0, 2][bounds[0, 2].isfinite().any(-1)].tolist() == [0, 0]
    assert not bounds[1:].isfinite().any()
    empty = EmptinessBounds(NAMES, slice_axis=2)(boxes())
    measure, bounds, _ = measure_prediction(prediction, empty, OutsideSize(), (1, 1, 1), 2, boxes())
    assert measure[0, :, 0].tolist()[1:] == [0, 1]
