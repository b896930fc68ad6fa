# SPDX-License-Identifier: Apache-2.0
"""Weak labels grown by the random walker: up to edges, slice by slice, rules for slices that lack a class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wss_monai.functional.weak.random_walker import walked
from wss_monai.transforms import RandomWalkerd


def case(missing: bool = False):
    """Three slices with a bright square; a voxel drawn in it and one outside. Nothing is drawn in the last slice."""
    image = np.zeros((1, 9, 9, 3), np.float32)
    image[0, 3:7, 3:7] = 1
    weak = np.full((1, 9, 9, 3), 255, np.uint8)
    weak[0, 0, 0, :2] = 0
    weak[0, 4, 4, :2] = 1
    if missing:
        weak[0, 4, 4, 1] = 255
    return {"case": "a", "image": torch.from_numpy(image), "weak_label": torch.from_numpy(weak)}


def grown(**settings):
    data = case(settings.pop("missing", False))
    out = RandomWalkerd(2, **settings)(data)["weak_label"]
    assert out.dtype == torch.uint8 and bool((data["weak_label"] == 255).any())  # the case itself is as before
    return out[0].numpy()


def test_labels_grow_to_the_edge_in_each_drawn_slice():
    out = grown()
    truth = np.zeros((9, 9), np.uint8)
    truth[3:7, 3:7] = 1
    assert (out[..., 0] == truth).all() and (out[..., 1] == truth).all() and (out[..., 2] == 255).all()


@pytest.mark.parametrize(("lacking", "value"), [("drawn", 0), ("background", 0), ("unlabelled", None)])
def test_rules_for_a_slice_without_a_class(lacking, value):
    out = grown(missing=True, lacking=lacking)[..., 1]
    if value is None:
        assert out[0, 0] == 0 and (out == 255).sum() == 80
    else:
        assert (out == value).all()


def test_only_the_background_missing_is_no_missing_class():
    data = case()
    data["weak_label"][data["weak_label"] == 0] = 255
    assert (RandomWalkerd(2, lacking="background")(data)["weak_label"][0, ..., 0] == 1).all()


def test_a_volume_may_be_walked_as_a_whole():
    assert (grown(slice_axis=None)[3:7, 3:7] == 1).all()  # the third slice too


def test_classes_keep_their_values_and_drawings_stay():
    drawn = np.full((5, 5), 255, np.uint8)
    drawn[0, 0], drawn[4, 4], drawn[2, 2] = 3, 7, 3
    image = np.zeros((5, 5))
    image[3:] = 1
    out = walked(image, drawn)
    assert set(np.unique(out)) == {3, 7} and out[2, 2] == 3 and out[3, 0] == 7
    assert (walked(5 * image + 2, drawn) == out).all()  # a gain changes nothing
    with np.errstate(all="raise"):
        flat = walked(np.zeros((5, 5)), drawn)  # by distance
    assert flat[1, 1] == 3 and flat[4, 3] == flat[3, 4] == 7


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"lacking must be one of \['drawn', 'background', 'unlabelled'\], got 'all'"):
        RandomWalkerd(2, lacking="all")
    with pytest.raises(ValueError, match="beta must be a positive number"):
        RandomWalkerd(2, beta=0)
    data = case()
    data["image"][0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="case 'a': the image holds NaN"):
        RandomWalkerd(2)(data)
    with pytest.raises(ValueError, match="must have one shape"):
        walked(np.zeros((2, 2)), np.zeros((3, 2), np.uint8))
