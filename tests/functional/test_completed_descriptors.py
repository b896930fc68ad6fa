# SPDX-License-Identifier: Apache-2.0
"""What descriptors say of themselves: units, absence, reach; and what stands in where one does not say it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from wss_monai.functional.box_descriptors import BoxStrips, OutsideSize
from wss_monai.functional.descriptors import (
    DESCRIPTORS,
    Centroid,
    Compactness,
    Length,
    PerimeterToArea,
    Size,
    Spread,
    completed,
)
from wss_monai.transforms import ConstantBounds

INF = math.inf
OURS = [*(descriptor() for descriptor in DESCRIPTORS), BoxStrips(), OutsideSize()]
PLANE, BLOCK = ([2.0, 3.0], [6, 5]), ([2.0, 3.0, 10.0], [6, 5, 4])


@dataclass(frozen=True)
class Bare:
    """No more than the protocol asks for."""

    name: ClassVar[str] = "bare"
    unit: ClassVar[str] = "g"
    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = False

    def __call__(self, probs, *, spacing=None, region=None):
        return probs.flatten(2).amax(-1, keepdim=True)

    def components(self, dimensions):
        return 1

    def scale(self, bounds, shape):
        return torch.ones_like(bounds)

    def move(self, bounds, matrix, cut, spacing=None):
        return bounds


class Signed(Bare):
    """One whose measure may be negative."""

    nonnegative: ClassVar[bool] = False


class Outspoken(Bare):
    """One that says a part of the rest."""

    when_absent: ClassVar[tuple[float, float]] = (-INF, 0.0)

    def units(self, dimensions):
        return ("g", "kg")

    def to_voxels(self, pairs, unit, spacing, shape):
        return pairs * {"g": 1, "kg": 1000}[unit]


@pytest.mark.parametrize(
    ("descriptor", "unit", "grid", "expected"),
    [
        (Size(), "voxel", PLANE, [[6.0, 60.0]]),
        (Size(), "mm2", PLANE, [[1.0, 10.0]]),  # 6 mm2 a pixel
        (Size(), "ml", BLOCK, [[100.0, 1000.0]]),  # 60 mm3 a voxel
        (Centroid(), "voxel", PLANE, [[6.0, 60.0]]),
        (Centroid(), "mm", PLANE, [[5.5, 32.5], [4.0, 22.0]]),  # centre 2.5, 2
        (Spread(), "mm", BLOCK, [[6.0, 60.0]]),
        (Length(), "mm", PLANE, [[6.0, 60.0]]),
        (Length(), "mm2", BLOCK, [[6.0, 60.0]]),
        (Compactness(), "1", PLANE, [[6.0, 60.0]]),
        (PerimeterToArea(), "1/mm", BLOCK, [[6.0, 60.0]]),
        (BoxStrips(), "voxel a line", PLANE, [[6.0, 60.0]]),
        (Bare(), "g", BLOCK, [[6.0, 60.0]]),
        (Outspoken(), "kg", BLOCK, [[6000.0, 60000.0]]),
    ],
)
def test_bounds_in_their_units(descriptor, unit, grid, expected):
    made = completed(descriptor).to_voxels(torch.tensor([[6.0, 60.0]]), unit, *grid)
    torch.testing.assert_close(made, torch.tensor(expected))


@pytest.mark.parametrize(
    ("descriptor", "unit", "grid", "said"),
    [
        (Size(), "ml", PLANE, "unit 'ml' does not fit 'size' in 2D: size takes voxel or mm2"),
        (Size(), "mm2", BLOCK, "unit 'mm2' does not fit 'size' in 3D: size takes voxel or ml"),
        (Length(), "mm", BLOCK, "unit 'mm' does not fit 'length' in 3D: length takes mm2"),
        (Bare(), "voxel", PLANE, "unit 'voxel' does not fit 'bare' in 2D: bare takes g"),
    ],
)
def test_other_units_are_refused(descriptor, unit, grid, said):
    with pytest.raises(ValueError, match=said):
        completed(descriptor).to_voxels(torch.zeros(1, 2), unit, *grid)


@pytest.mark.parametrize(
    ("descriptor", "flat", "deep"),
    [
        (Size(), (6.0, "mm2"), (0.06, "ml")),
        (OutsideSize(), (1.0, "voxel"), (1.0, "voxel")),
        (Centroid(), (1.0, "voxel"), (1.0, "voxel")),
        (Spread(), (1.0, "mm"), (1.0, "mm")),
        (Length(), (1.0, "mm"), (1.0, "mm2")),
        (Compactness(), (1.0, "1"), (1.0, "1")),
        (PerimeterToArea(), (1.0, "1/mm"), (1.0, "1/mm")),
        (BoxStrips(), (1.0, "voxel a line"), (1.0, "voxel a line")),
        (Bare(), (1.0, "g"), (1.0, "g")),
    ],
)
def test_units_for_a_reader(descriptor, flat, deep):
    for (spacing, _), (factor, unit) in ((PLANE, flat), (BLOCK, deep)):
        assert completed(descriptor).shown(spacing) == (pytest.approx(factor), unit)


def test_reach():
    assert [side.tolist() for side in Size().reach([6, 5])] == [[0.0], [30.0]]
    assert [side.tolist() for side in Centroid().reach([6, 5, 4])] == [[0.0] * 3, [5.0, 4.0, 3.0]]
    for descriptor in (Spread(), Length(), Compactness(), Bare()):
        assert [side.tolist() for side in completed(descriptor).reach([6, 5])] == [[-INF], [INF]]


@pytest.mark.parametrize("descriptor", OURS, ids=lambda d: d.name)
def test_ours_lack_nothing_and_mean_what_they_measure(descriptor):
    assert completed(descriptor) is descriptor
    nothing = torch.zeros(1, 2, 6, 5)
    boxes = torch.zeros(1, 2, 6, 5)
    boxes[:, :, 1:3, 1:3] = 1
    measure = descriptor(nothing, region=boxes if descriptor.name in ("box_strips", "outside_size") else None)
    lower, upper = descriptor.when_absent
    assert bool(((measure >= lower) & (measure <= upper)).all())
    assert descriptor.counts_voxels == (descriptor.name == "size")
    assert descriptor.is_place == (descriptor.name == "centroid")
    assert descriptor.one_bound == (descriptor.name == "box_strips")


def test_what_another_descriptor_does_not_say_has_a_default():
    whole = completed(Bare())
    assert (whole.name, whole.unit, whole.components(3)) == ("bare", "g", 1)
    assert (whole.counts_voxels, whole.one_bound, whole.when_absent) == (False, False, (-INF, INF))
    assert (whole.others(), whole.joint()) == ((), False)
    assert whole(torch.eye(3)[None, None]).tolist() == [[[1.0]]]
    with pytest.raises(AttributeError):
        whole.colour  # noqa: B018


def test_another_descriptor_is_a_place_where_it_may_be_negative_or_says_so():
    class Depth(Bare):
        is_place: ClassVar[bool] = True

    assert [completed(d).is_place for d in (Bare(), Signed(), Depth())] == [False, True, True]


def test_what_another_descriptor_says_of_absence_holds_in_slices():
    tags = torch.tensor([[1, 1], [1, -1], [1, 0]])
    for descriptor, expected in (
        (Bare(), [[2, 3], [-INF, INF], [-INF, INF]]),
        (Outspoken(), [[2, 3], [-INF, 3], [-INF, 0]]),
    ):
        bounds = ConstantBounds({"LV": (2, 3)}, ["background", "LV"], "g", descriptor, slice_axis=2)
        assert bounds(torch.zeros(1, 4, 4, 3), tags)[:, 1, 0].tolist() == expected
