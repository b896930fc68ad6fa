# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from wss_monai.functional.interval_models import (
    IntervalModel,
    slice_features,
    slice_positions,
    volume_features,
)
from wss_monai.functional.weak.features import CUES, slice_cues


def drawn(*marks, shape=(2, 8, 10)):
    """A map of unlabelled slices with marks (slice, rows, columns, class)."""
    index = np.full(shape, 255, np.uint8)
    for number, rows, columns, k in marks:
        index[number, rows, columns] = k
    return index


def test_length_box_and_hull_in_mm():
    index = drawn((0, slice(2, 3), slice(1, 6), 1), (1, slice(0, 3), slice(0, 3), 1))
    cues, places = slice_cues(index, (2.0, 0.5), 3)
    assert cues.shape == (2, 3, len(CUES)) and places.shape == (2, 3, 2)
    # five voxels of 2 x 0.5 mm, whose mean width is 1 mm; a box of 2 x 2.5 mm; a line has no hull beyond its voxel
    assert np.allclose(cues[0, 1], [5.0, 5.0, 1.0])
    # nine voxels; a box of 6 x 1.5 mm; the hull of the centres is 4 x 1 mm
    assert np.allclose(cues[1, 1], [9.0, 9.0, 5.0])
    assert np.allclose(places[0, 1], [2.0, 3.0]) and np.allclose(places[1, 1], [1.0, 1.0])


def test_a_class_that_is_not_drawn_has_zero_cues_and_no_place():
    cues, places = slice_cues(drawn((0, 1, 1, 1)), (1.0, 1.0), 3)
    assert not cues[0, 2].any() and not cues[1].any()
    assert np.isnan(places[0, 2]).all() and np.isnan(places[1]).all() and np.isfinite(places[0, 1]).all()


def test_a_dense_slice_says_nothing_of_scribbles():
    index = drawn((0, 1, 1, 1))
    index[1] = 0
    index[1, 2:5, 2:5] = 1
    cues, places = slice_cues(index, (1.0, 1.0), 2)
    assert np.isnan(cues[1]).all() and np.isfinite(cues[0]).all()
    assert np.allclose(places[1, 1], [3.0, 3.0])


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ([0, 1, 1, 0], [0.0, 0.25, 0.75, 1.0]),
        ([0, 0, 0], [0.5, 0.5, 0.5]),
        ([1], [0.5]),
        ([1, 0, 1, 1], [0.125, 0.375, 0.625, 0.875]),
    ],
)
def test_position_between_first_and_last_slice(present, expected):
    assert np.allclose(slice_positions(np.array(present, bool)), expected)


def test_features():
    cues = np.array([[np.e - 1, np.e**2 - 1, np.e**3 - 1], [0.0, 0, 0]])
    present = np.array([True, False])
    assert np.allclose(slice_features("scribble", cues, present), [[1, 0.5, 0.25, 1, 2, 3], [1, 1, 1, 0, 0, 0]])
    assert np.allclose(slice_features("box", cues, present)[0], [1, 0.5, 0.25, 2])
    assert slice_features("position", cues, present).shape == (2, 3)
    both = np.array([True, True])
    assert np.allclose(volume_features("position", cues, both, 5.0), [[1, np.log(10)]])
    assert np.allclose(volume_features("scribble", cues, both, 5.0)[0, 2], np.log(5 * (np.e**3 - 1) + 1))


def test_interval_of_a_model_by_hand():
    model = IntervalModel([2.0, 1.0], [np.log(0.5), 0.0], (-1.0, 2.0))
    assert np.allclose(model(np.array([[1.0, 0.0]])), [[np.exp(1.5), np.exp(3.0)]])
    assert IntervalModel.from_dict(model.to_dict())(np.array([[1.0, 0.5]])) == pytest.approx(
        model(np.array([[1.0, 0.5]]))
    )


def test_the_scale_of_the_residuals_is_limited():
    wild = IntervalModel([0.0, 0.0], [0.0, 50.0], (-1.0, 1.0))
    assert np.allclose(wild.scale(np.array([[1.0, 1.0], [1.0, -1.0]])), [2.7, 0.03])


def test_an_interval_is_never_a_point():
    model = IntervalModel([np.log(100.0)], [0.0], (0.0, 0.0))
    assert np.allclose(model(np.ones((1, 1))), [[100 * np.exp(-0.05), 100 * np.exp(0.05)]])
