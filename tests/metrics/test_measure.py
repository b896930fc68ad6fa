# SPDX-License-Identifier: Apache-2.0
"""What descriptors measure on a hard prediction."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.area_change import AreaChange
from wss_monai.functional.descriptors import Centroid, Compactness, Length, Size, Spread
from wss_monai.metrics.measure import measure_prediction

INF = math.inf
SPACING = [2.0, 3.0, 10.0]


def prediction() -> torch.Tensor:
    """Class 1: 6 voxels of slice 0; class 2: two voxels of slice 0 and one of slice 1."""
    index = torch.zeros(6, 5, 3, dtype=torch.uint8)
    index[1:3, 1:4, 0] = 1
    index[5, 1, 0] = index[5, 3, 0] = index[0, 0, 1] = 2
    return index


def free(*units: int, components: int = 1) -> torch.Tensor:
    return torch.tensor([-INF, INF]).repeat(*units, 3, components, 1)


def test_sizes_of_slices():
    bounds = free(3)
    bounds[0, 1, 0] = torch.tensor([2.0, 5.0])
    measure, limits, units = measure_prediction(prediction(), bounds, Size(), SPACING, slice_axis=2)
    assert measure[..., 0].tolist() == [[22, 6, 2], [29, 0, 1], [30, 0, 0]]
    assert torch.equal(limits, bounds)
    assert units == [0, 1, 2]


@pytest.mark.parametrize(("axis", "count"), [(0, 6), (1, 5), (2, 3)])
def test_slices_along_each_axis_sum_to_the_volume(axis, count):
    parts, _, units = measure_prediction(prediction(), free(count), Size(), SPACING, slice_axis=axis)
    whole, _, name = measure_prediction(prediction(), free(), Size(), SPACING)
    assert torch.equal(parts.sum(0, keepdim=True), whole)
    assert units == list(range(count))
    assert name == [""]
    assert whole[0, :, 0].tolist() == [81, 6, 3]


@pytest.mark.parametrize(("axis", "distance"), [(2, 6.0), (0, 6.0)])
def test_spread_in_mm_of_the_slice(axis, distance):
    count = prediction().shape[axis]
    measure, _, _ = measure_prediction(prediction(), free(count), Spread(), SPACING, slice_axis=axis)
    assert measure[0 if axis == 2 else 5, 2, 0] == pytest.approx(distance / 2, rel=1e-5)


def test_whole_volume_in_mm():
    measure, _, _ = measure_prediction(prediction(), free(), Length(), SPACING)
    expected = Length()((prediction() == 1).float()[None, None], spacing=torch.tensor([SPACING]))
    torch.testing.assert_close(measure[:, 1:2], expected)


def test_centroids_of_absent_classes_are_not_bounded():
    bounds = free(3, components=2)
    bounds[:, 1:] = torch.tensor([1.0, 2.0])
    measure, limits, _ = measure_prediction(prediction(), bounds, Centroid(), SPACING, slice_axis=2)
    assert measure[0, 1].tolist() == [1.5, 2]
    assert measure[0, 2].tolist() == [5, 2]
    assert limits.isfinite().all(-1).all(-1)[:, 1:].tolist() == [[True, True], [False, True], [False, False]]
    assert bounds[:, 1:].isfinite().all()  # the given bounds are not changed


@pytest.mark.parametrize("descriptor", [Size(), Spread(), Length(), Compactness()], ids=lambda d: d.name)
def test_absent_classes_measure_zero_and_keep_their_bounds(descriptor):
    bounds = free(3)
    bounds[:, 1, 0] = torch.tensor([1.0, 2.0])
    measure, limits, _ = measure_prediction(prediction(), bounds, descriptor, SPACING, slice_axis=2)
    assert measure[1:, 1].abs().max() < 1e-6
    assert torch.equal(limits, bounds)


def test_a_flat_image():
    measure, _, units = measure_prediction(prediction()[..., 0], free(), Size(), SPACING[:2])
    assert measure[0, :, 0].tolist() == [22, 6, 2]
    assert units == [""]


@pytest.mark.parametrize(("bounds", "axis"), [(free(4), 2), (free(3), None), (free(3), 0)])
def test_bounds_that_do_not_fit(bounds, axis):
    with pytest.raises(ValueError, match=rf"bounds .* do not fit \(6, 5, 3\) along axis {axis}"):
        measure_prediction(prediction(), bounds, Size(), SPACING, slice_axis=axis)


def test_changes_of_area_are_rows_of_steps_between_slices():
    """Class 1: areas 12, 36, 24 mm2 in three slices 10 mm apart; nothing is said outside of the slices that show it."""
    index = torch.zeros(4, 4, 5, dtype=torch.uint8)
    index[:2, 0, 1] = index[:3, :2, 2] = index[:4, 0, 3] = 1
    bounds = torch.tensor([-INF, INF]).repeat(2, 1, 1)
    bounds[1, 0, 1] = 2.0
    measure, limits, units = measure_prediction(index, bounds, AreaChange(slice_axis=2), SPACING, slice_axis=2)
    assert (measure.shape, limits.shape, units) == ((4, 2, 1), (4, 2, 1, 2), [0, 1, 2, 3])
    assert measure[1:3, 1, 0].tolist() == pytest.approx([2.4, 1.2])
    assert limits[:, 1, 0, 1].tolist() == [INF, 2.0, 2.0, INF]
