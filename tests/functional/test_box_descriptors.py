# SPDX-License-Identifier: Apache-2.0
"""Strips of boxes by hand, and what lies outside of them."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.box_descriptors import BoxStrips, OutsideSize
from wss_monai.functional.descriptors import Size

INF = math.inf


def boxes(*places, shape=(12, 11)):
    """One sample, one class: instance numbers in the given slices."""
    region = torch.zeros(1, 1, *shape, dtype=torch.uint8)
    for number, place in enumerate(places, 1):
        region[(0, 0, *place)] = number
    return region


def values(measure):
    return [value for value in measure.flatten().tolist() if not math.isnan(value)]


class TestStrips:
    def test_by_hand(self):
        probs = torch.full((1, 1, 12, 11), 0.5)
        probs[..., 2, 3:6] = 1.0
        measure = BoxStrips(5)(probs, region=boxes((slice(2, 9), slice(3, 6))))
        # 7 rows: 5 and the 2 that are left, 3 voxels each; 3 columns of 7 voxels, fewer than a strip
        assert values(measure) == pytest.approx([(3 + 4 * 1.5) / 5, 1.5, (3 + 3 * 3 * 1.0) / 3])

    @pytest.mark.parametrize(("length", "strips"), [(1, 1), (5, 1), (6, 2), (10, 2), (11, 3)])
    def test_every_line_is_covered_and_counts_once(self, length, strips):
        region = boxes((slice(0, length), slice(4, 5)))
        probs = torch.rand(1, 1, 12, 11)
        rows = values(BoxStrips(5)(probs, region=region))[:-1]
        lines = [5] * (length // 5) + [length % 5] * (length % 5 > 0)
        assert len(rows) == strips == len(lines)
        assert sum(m * n for m, n in zip(rows, lines, strict=True)) == pytest.approx(
            float(probs[0, 0, :length, 4].sum())
        )

    def test_a_line_left_over_has_a_strip_of_its_own(self):
        region = boxes((slice(2, 8), slice(1, 4)))  # (6 - 1) mod 5 = 0: the published code leaves row 7 out
        probs = torch.zeros(1, 1, 12, 11)
        probs[0, 0, 2:7, 2] = 1
        rows = values(BoxStrips(5)(probs, region=region))
        assert rows[:2] == [1, 0]

    def test_full_boxes_are_tight_and_lines_without_organ_are_not(self):
        region = boxes((slice(2, 9), slice(3, 10)))
        assert min(values(BoxStrips(2)((region > 0).float(), region=region))) >= 1
        diagonal = torch.zeros(1, 1, 12, 11)
        diagonal[0, 0, range(2, 9), range(3, 10)] = 1
        assert values(BoxStrips(3)(diagonal, region=region)) == [1] * 6
        diagonal[0, 0, 5] = 0
        assert values(BoxStrips(3)(diagonal, region=region)).count(pytest.approx(2 / 3)) == 2

    def test_samples_classes_and_instances_are_padded_with_nan(self):
        region = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        region[0, 1, 1:7, 1:3], region[0, 1, 1:3, 4:7] = 1, 2
        region[1, 2, 0:2, 0:2] = 1
        region[1, 0] = 255
        probs = torch.rand(2, 3, 8, 8)
        measure = BoxStrips(4)(probs, region=region)
        assert measure.shape[:2] == (2, 3)
        counts = (~measure.isnan()).sum(-1)
        assert counts.tolist() == [[0, 5, 0], [0, 0, 2]]
        assert values(measure[1, 2]) == pytest.approx([float(probs[1, 2, :2, :2].sum()) / 2] * 2)

    def test_one_channel_serves_all_classes(self):
        region = boxes((slice(2, 9), slice(3, 6)))
        probs = torch.rand(1, 4, 12, 11)
        each = BoxStrips()(probs, region=region.expand(1, 4, 12, 11))
        torch.testing.assert_close(BoxStrips()(probs, region=region), each, equal_nan=True)
        assert BoxStrips()(probs, region=torch.zeros_like(region)).isnan().all()

    def test_planes_in_3d(self):
        region = boxes((slice(1, 4), slice(0, 5), slice(2, 4)), shape=(5, 6, 7))
        measure = values(BoxStrips(2)(torch.ones(1, 1, 5, 6, 7), region=region))
        assert measure == [10, 10, 6, 6, 6, 15]

    def test_gradients(self):
        torch.manual_seed(0)
        region = boxes((slice(1, 6), slice(0, 3)), (slice(3, 5), slice(4, 6)), shape=(6, 6))
        probs = torch.rand(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)

        def measure(p):
            found = BoxStrips(2)(p, region=region)
            return found[~found.isnan()]

        assert torch.autograd.gradcheck(measure, probs)
        assert torch.autograd.gradcheck(lambda p: OutsideSize()(p, region=region), probs)

    @pytest.mark.parametrize("width", [0, -1, 2.5, True])
    def test_wrong_width(self, width):
        with pytest.raises(ValueError, match="width must be a whole number of lines, 1 or more"):
            BoxStrips(width)

    @pytest.mark.parametrize("descriptor", [BoxStrips(), OutsideSize()])
    def test_needs_boxes_that_fit(self, descriptor):
        probs = torch.rand(2, 3, 8, 8)
        with pytest.raises(ValueError, match="needs a region: the boxes"):
            descriptor(probs)
        for shape in ((2, 2, 8, 8), (1, 3, 8, 8), (2, 3, 8, 7)):
            with pytest.raises(ValueError, match=r"region must be boxes .* for probabilities \(2, 3, 8, 8\)"):
                descriptor(probs, region=torch.zeros(shape))


class TestOutside:
    def test_unknown_counts_neither_inside_nor_outside(self):
        region = boxes((slice(2, 4), slice(2, 5)))
        region[..., 8:] = 255
        probs = torch.ones(1, 1, 12, 11)
        assert OutsideSize()(probs, region=region).item() == 12 * 8 - 6
        assert Size()(probs, region=region).item() == 6

    def test_scale_has_the_floor_of_size(self):
        bounds = torch.tensor([[[[-INF, 0.0]]]])
        assert OutsideSize().scale(bounds, (20, 10)).tolist() == [[[[10, 10]]]]


def matrix(linear, shift=(0.0, 0.0)):
    out = torch.eye(3, dtype=torch.float64)
    out[:2, :2], out[:2, 2] = torch.tensor(linear, dtype=torch.float64), torch.tensor(shift, dtype=torch.float64)
    return out[None]


class TestMove:
    BOUNDS = torch.tensor([1.0, INF]).expand(1, 2, 1, 2)
    KEEP = torch.zeros(1, 2, dtype=torch.bool)

    @pytest.mark.parametrize(
        ("linear", "lower"),
        [
            ([[1, 0], [0, 1]], 1),
            ([[-1, 0], [0, 1]], 1),
            ([[0, -1], [1, 0]], 1),
            ([[1.2, 0], [0, 1.1]], 1),
            ([[0, 0.8], [-0.9, 0]], 0.8),
        ],
    )
    def test_boxes_that_stay_boxes(self, linear, lower):
        moved = BoxStrips().move(self.BOUNDS, matrix(linear, (3, -2)), self.KEEP)
        torch.testing.assert_close(moved, torch.tensor([lower, INF]).expand_as(moved))

    def test_turned_or_cut_boxes_have_no_bound(self):
        c, s = math.cos(0.1), math.sin(0.1)
        assert BoxStrips().move(self.BOUNDS, matrix([[c, -s], [s, c]]), self.KEEP).isinf().all()
        moved = BoxStrips().move(self.BOUNDS, matrix([[1, 0], [0, 1]]), torch.tensor([[False, True]]))
        assert moved[0, :, 0, 0].tolist() == [1, -INF]

    def test_nothing_stays_nothing(self):
        bounds = torch.tensor([-INF, 0.0]).expand(1, 2, 1, 2)
        c, s = math.cos(0.1), math.sin(0.1)
        moved = OutsideSize().move(bounds, matrix([[1.5 * c, -s], [s, c]]), torch.tensor([[False, True]]))
        assert moved.tolist() == bounds.tolist()
