# SPDX-License-Identifier: Apache-2.0
"""Maps of boxes: sets of classes, channels, instances."""

from __future__ import annotations

import numpy as np
import pytest

from wss_monai.functional.weak.box_maps import (
    box_channels,
    box_index,
    index_of_sets,
    number_boxes,
    split_index,
    visible_index,
)


def test_sets_get_indices_behind_the_classes():
    table, sets = index_of_sets({0: 0, 1: 1, 7: [2, 1], 8: [1, 2], 9: [2], 4: [1, 2, 3], 255: 255}, 4)
    assert table == {0: 0, 1: 1, 7: 4, 8: 4, 9: 2, 4: 5, 255: 255}
    assert sets == [(1, 2), (1, 2, 3)]


def test_channels_survive_as_one_map():
    R = np.random.RandomState(0)
    channels = R.rand(4, 6, 5, 3) < 0.3
    channels[0] = ~channels[1:].any(0) & (R.rand(6, 5, 3) < 0.5)
    sets = [(2, 3)]
    index = box_index(channels, sets)
    assert index.dtype == np.uint8
    assert sets[0] == (2, 3)
    assert set(np.unique(index)) <= {0, 1, 2, 3, *range(4, 4 + len(sets)), 255}
    np.testing.assert_array_equal(split_index(index, sets, 4), channels)
    assert (box_index(np.zeros((3, 4, 4), bool), []) == 255).all()


def test_more_ways_to_overlap_than_values_are_refused():
    channels = np.array(np.unravel_index(np.arange(2**9), (2,) * 9), bool).reshape(9, 2**9, 1)
    with pytest.raises(
        ValueError, match="boxes of 9 classes overlap in 247 ways, more than a map with values up to 254"
    ):
        box_index(channels, [])


def test_nested_and_overlapping_boxes_of_a_dense_label():
    label = np.zeros((10, 9), np.uint8)
    label[1:8, 1:7], label[3:6, 2:5] = 2, 3
    label[0, 5:9] = 1
    label[2, 8] = 1
    channels = box_channels(label, 4)
    assert channels[2].sum() == 42
    assert channels[3].sum() == 9
    assert channels[1, 0:3, 5:9].all()
    assert channels[1].sum() == 12
    sets: list[tuple[int, ...]] = []
    assert set(np.unique(box_index(channels, sets))) == {1, 2, 4, 5, 255}
    assert set(sets) == {(2, 3), (1, 2)}
    background = box_channels(label, 4, background=True)[0]
    np.testing.assert_array_equal(background, (label == 0) & ~channels[1:].any(0))
    wide = box_channels(label, 4, margin=1)
    assert wide[3].sum() == 25
    assert wide[2].sum() == 9 * 8


def test_slices_and_components():
    label = np.zeros((8, 8, 2), np.uint8)
    label[0:2, 0:2, 0] = label[5:8, 5:7, 0] = label[3:5, 3:5, 1] = 1
    whole = box_channels(label, 2, 2)
    assert whole[1, ..., 0].sum() == 8 * 7
    assert whole[1, ..., 1].sum() == 4
    each = box_channels(label, 2, 2, per_component=True)
    np.testing.assert_array_equal(each[1], label == 1)
    assert box_channels(label, 2)[1].sum() == 8 * 7 * 2
    numbers = number_boxes(each, 2)
    assert sorted(np.unique(numbers[1, ..., 0])) == [0, 1, 2]
    assert sorted(np.unique(numbers[1, ..., 1])) == [0, 1], "each slice counts from 1"
    assert not numbers[0].any()


def test_unknown_voxels_are_in_no_box_and_the_background_has_none():
    label = np.full((4, 4), 255, np.uint8)
    label[0, 0] = label[2, 2] = 1
    assert box_channels(label, 2)[1].sum() == 2
    with pytest.raises(ValueError, match="the background has no box"):
        box_channels(label, 2, classes=[0, 1])


def test_what_is_no_rectangle_is_taken_as_one():
    inside = np.zeros((2, 9, 9), bool)
    inside[1, 1:4, 1:4] = inside[1, 3:6, 3:6] = True  # two boxes that overlap
    inside[1, 7, 0:3] = inside[1, 5, 0] = True
    numbers = number_boxes(inside)[1]
    assert (numbers[1:6, 1:6] == numbers[1, 1]).all()
    ring = np.zeros((2, 9, 9), bool)
    ring[1, 1:8, 1:8], ring[1, 3:5, 3:5] = True, False  # another class's box hides the middle
    assert number_boxes(ring)[1].sum() == 49
    chain = np.zeros((1, 9, 9), bool)
    chain[0, 0:3, 0], chain[0, 2, 0:3], chain[0, 0, 3] = True, True, True  # its rectangle touches the next
    assert number_boxes(chain)[0, :3, :4].sum() == 12


def test_a_box_of_a_volume():
    inside = np.zeros((2, 5, 5, 4), bool)
    inside[1, 1:3, 1:3, 0:2] = inside[1, 1:4, 1:4, 2] = True
    whole = number_boxes(inside)[1]
    assert (whole[1:4, 1:4, 0:3] == 1).all()
    assert whole.sum() == 27
    assert number_boxes(inside, 2)[1].sum() == 4 + 4 + 9


def test_too_many_boxes_are_refused():
    dots = np.zeros((2, 40, 40), bool)
    dots[1, ::2, ::2] = True
    with pytest.raises(ValueError, match="class 1 has 400 separate boxes, more than 254"):
        number_boxes(dots)


def test_smaller_boxes_are_seen():
    channels = np.zeros((3, 4, 4), bool)
    channels[1, 1, 1], channels[2, 0:3, 0:3] = True, True
    seen = visible_index(channels)
    assert seen[1, 1] == 1
    assert (seen == 2).sum() == 8
    assert (seen == 255).sum() == 7
