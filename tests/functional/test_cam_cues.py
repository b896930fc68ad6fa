# SPDX-License-Identifier: Apache-2.0
"""Cues read off hand-made maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wss_monai.functional.cams.cues import (
    activation_maps,
    background_cues,
    body_mask,
    cue_map,
    foreground_cues,
    gradient_saliency,
    maps_on_grid,
    resolve_conflicts,
)

ROW = np.array([[0.0, 1.0, 2.0, 2.001, 5.0, 10.0]])


class TestForeground:
    def test_threshold_is_strict_and_relative_to_the_maximum(self):
        found = foreground_cues(ROW, [1, 1])
        assert found.tolist() == [[False, False, False, True, True, True]]

    def test_classes_that_are_not_tagged_present_have_none(self):
        maps = np.concatenate([ROW] * 3)
        found = foreground_cues(maps, [1, 0, -1, 1])
        assert found.any(1).tolist() == [False, False, True]

    def test_map_without_positive_value_has_none(self):
        assert not foreground_cues(-ROW, [1, 1]).any()
        assert not foreground_cues(np.zeros((1, 4)), [1, 1], minimum=3).any()

    def test_fraction_of_each_class(self):
        found = foreground_cues(np.concatenate([ROW, ROW]), [1, 1, 1], fraction=[0.2, 0.6])
        assert found.sum(1).tolist() == [3, 1]

    @pytest.mark.parametrize(("minimum", "count"), [(1, 1), (3, 3), (6, 5)])
    def test_minimum_takes_the_highest_that_are_above_zero(self, minimum, count):
        found = foreground_cues(ROW, [1, 1], fraction=0.9, minimum=minimum)[0]
        assert found.tolist() == [i >= 6 - count for i in range(6)]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"tags": [1, 1, 1]}, "tags must be 2 numbers"),
            ({"fraction": 1.0}, r"fraction must be one number in \[0, 1\)"),
            ({"fraction": [0.2, 0.2]}, "one for each of 1 maps"),
            ({"minimum": -1}, "minimum must be 0 or more"),
        ],
    )
    def test_bad_input(self, settings, message):
        with pytest.raises(ValueError, match=message):
            foreground_cues(ROW, **{"tags": [1, 1], **settings})


class TestBackground:
    def test_lowest_ranks(self):
        saliency = np.arange(100.0).reshape(10, 10)
        found = background_cues(saliency, 0.1, median=1, air=0)
        assert found.sum() == 10 and found[0].all()

    def test_ties_at_the_rank_are_left_out(self):
        saliency = np.array([0.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
        assert background_cues(saliency, 0.3, median=1, air=0).tolist() == [True] + [False] * 9
        assert not background_cues(np.ones((5, 5)), 0.5, air=0).any()

    def test_ranks_within_the_mask_and_a_capped_share_of_air(self):
        saliency = np.arange(100.0).reshape(10, 10)
        mask = np.zeros((10, 10), bool)
        mask[5:] = True
        found = background_cues(saliency, 0.4, mask, air=0.25, median=1)
        assert (found & mask).sum() == 20 and found[5:7].all()
        outside = np.argwhere(found & ~mask)
        assert len(outside) == 5 and set(outside[:, 0]) == {0, 1, 2, 3, 4}

    def test_median_filter_ignores_a_lone_voxel(self):
        saliency = np.ones((9, 9))
        saliency[:, :3] = 0.5
        saliency[4, 7] = 0.0
        assert background_cues(saliency, 0.5, air=0, median=1)[4, 7]
        assert not background_cues(saliency, 0.5, air=0)[4, 7]

    def test_all_of_it(self):
        assert background_cues(np.ones((3, 3)), 1.0).all()

    @pytest.mark.parametrize("settings", [{"fraction": 1.1}, {"air": -0.1}, {"median": 0}, {"mask": np.ones(3)}])
    def test_bad_input(self, settings):
        with pytest.raises(ValueError, match="must"):
            background_cues(np.ones((4, 4)), **settings)


def test_the_smaller_area_wins_a_conflict_or_nobody():
    masks = np.zeros((3, 6), bool)
    masks[0, :4] = True
    masks[1, 2:5] = True
    masks[2, 4:6] = True
    assert resolve_conflicts(masks).tolist() == [0, 0, 1, 1, 2, 2]
    assert resolve_conflicts(masks, "drop").tolist() == [0, 0, 255, 255, 255, 2]
    assert resolve_conflicts(masks[:, :2]).tolist() == [0, 0]
    with pytest.raises(ValueError, match="rule must be one of"):
        resolve_conflicts(masks, "larger")


def test_of_equal_areas_background_yields():
    assert resolve_conflicts(np.ones((2, 3), bool)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("shape", [(8, 8), (4, 8, 8)])
class TestCueMap:
    def maps(self, shape):
        maps = np.zeros((2, *shape))
        maps[0, ..., 2, 2] = 1.0
        maps[1, ..., 6, 6] = 1.0
        return maps, np.random.RandomState(0).rand(*shape) + maps.sum(0)

    def test_cues_of_the_tagged_class_and_background(self, shape):
        maps, saliency = self.maps(shape)
        cues = cue_map(maps, saliency, [1, 1, 0])
        assert cues.dtype == np.uint8 and set(np.unique(cues)) == {0, 1, 255}
        assert (cues[..., 2, 2] == 1).all() and (cues == 1).sum() == maps[0].sum()

    def test_negative_image_is_background_in_the_whole_mask(self, shape):
        maps, saliency = self.maps(shape)
        mask = np.ones(shape, bool)
        mask[..., :2] = False
        cues = cue_map(maps, saliency, [1, 0, 0], mask, air=0)
        assert (cues[mask] == 0).all() and (cues[~mask] == 255).all()
        assert (cue_map(maps, saliency, [-1, 0, 0], mask)[~mask] == 0).sum() == int(0.1 * mask.sum())

    def test_nothing_is_said_where_nothing_is_known(self, shape):
        maps, saliency = self.maps(shape)
        assert (cue_map(maps, saliency, [-1, -1, -1]) == 255).all()
        assert 0 not in cue_map(maps, saliency, [0, 1, 1])


@pytest.mark.parametrize("dims", [2, 3])
def test_body_is_the_largest_bright_component_without_holes(dims):
    body = np.zeros((1,) + (20,) * dims)
    inner = (slice(4, 16),) * dims
    body[0][inner] = 1.0
    body[0][(slice(8, 11),) * dims] = 0.1
    expected = np.zeros(body.shape[1:], bool)
    expected[inner] = True
    body[0][(slice(0, 2),) * dims] = 1.0
    assert np.array_equal(body_mask(body), expected)
    assert np.array_equal(body_mask(np.concatenate([body, 100 * body])), expected)
    assert body_mask(np.ones((1,) + (4,) * dims)).all()


def test_holes_of_a_volume_are_filled_slice_by_slice():
    body = np.zeros((1, 10, 10, 3))
    body[0, 2:8, 2:8] = 1.0
    body[0, 4:6, 4:6] = 0.0  # a tube through all slices
    assert not body_mask(body)[4, 4].any()
    assert body_mask(body, slice_axis=2)[4, 4].all()


def test_activation_maps_and_saliency_by_hand():
    features = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    weight = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    assert activation_maps(features, weight).tolist() == [[[-2.0, -2.0], [6.5, 9.0]]]

    def head(x):
        return torch.stack(((x[:, 0] ** 2).sum(1), -3 * x[:, 1].sum(1)), 1)

    with torch.no_grad():
        saliency = gradient_saliency(features, head)
    assert saliency.tolist() == [[[3.0, 4.0]]]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_maps_keep_their_places_on_the_grid_of_the_image(dims):
    ramp = torch.arange(0.0, 16.0, 4)  # cells centred on the voxels 0, 4, 8, 12
    maps = ramp.view(1, 1, *(1,) * (dims - 1), 4).expand(1, 1, *(2,) * (dims - 1), 4)
    fine = maps_on_grid(maps, (5,) * (dims - 1) + (15,), stride=4)
    assert fine.flatten(0, -2)[0].tolist() == [*map(float, range(13)), 12.0, 12.0]
    assert maps_on_grid(maps, (8,) * (dims - 1) + (16,)).flatten(0, -2)[0, -1] == 12.0
    with pytest.raises(ValueError, match="do not cover"):
        maps_on_grid(maps, (5,) * (dims - 1) + (17,), stride=4)
