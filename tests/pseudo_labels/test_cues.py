# SPDX-License-Identifier: Apache-2.0
"""Cues for volumes from a classifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from wss_monai.networks import TagClassifier
from wss_monai.pseudo_labels import TagCues


def bright_spot_finder(dims: int, stride: int = 1) -> TagClassifier:
    """A classifier of one class whose map is the image itself at every ``stride``-th voxel."""
    network = TagClassifier(dims, 1, num_classes=2, channels=(1, 1, 1), stride=stride)
    for name, value in network.state_dict().items():
        value.zero_()
        if name.endswith("running_var"):
            value.fill_(1.0)
        elif value.dim() == dims + 2:
            value[(0, 0) + (1,) * dims] = 1.0
        elif name.endswith("linear.weight") or name.endswith("N.weight"):
            value.fill_(1.0)
    return network


def volume() -> torch.Tensor:
    """Three slices, a body of 0.2 in air with a spot in the slices 0 and 1."""
    image = torch.zeros(1, 16, 16, 3)
    image[:, 2:14, 2:14] = 0.2
    image[:, 6:8, 8:10, :2] = 1.0
    return image


@pytest.mark.parametrize("axis", [0, 2])
def test_slice_by_slice(axis):
    image, tags = volume(), torch.tensor([[1, 1], [1, 0], [1, 1]])
    turned = image if axis == 2 else image.movedim(3, 1)
    make = TagCues(bright_spot_finder(2), slice_axis=axis, fraction=0.5, background=0.0)
    cues = make(turned, tags)
    assert cues.dtype == torch.uint8 and cues.shape == turned.shape
    slices = cues[0].movedim(axis, 0)
    assert (slices[0] == 1).nonzero().tolist() == [[6, 8], [6, 9], [7, 8], [7, 9]]
    assert set(slices[1].unique().tolist()) == {0, 255}  # no class: background in the body
    body = torch.zeros(16, 16, dtype=torch.bool)
    body[6:8, 8:10] = True  # one threshold for the volume: here the spot alone is body
    assert (slices[1][body] == 0).all()
    assert (slices[2] == 1).sum() == 144  # above half of the slice's own maximum


def test_a_volume_is_one_image_and_a_strided_map_keeps_its_place():
    image = volume().expand(1, 16, 16, 3).repeat(1, 1, 1, 3)
    cues = TagCues(bright_spot_finder(3), slice_axis=None, fraction=0.5)(image, torch.tensor([1, 1]))
    assert torch.equal(cues == 1, image == 1)
    spot = torch.zeros(1, 32, 32, 1)
    spot[0, 12, 20] = 1.0
    cues = TagCues(bright_spot_finder(2, stride=4), fraction=0.9)(spot, torch.tensor([[1, 1]]))
    assert (cues[0] == 1).nonzero().tolist() == [[12, 20, 0]]


def test_a_2d_file_is_one_slice_and_the_grid_goes_along():
    image = MetaTensor(volume()[..., 0], affine=torch.diag(torch.tensor([2.0, 3, 1, 1])))
    cues = TagCues(bright_spot_finder(2), fraction=0.5)(image, torch.tensor([[1, 1]]))
    assert isinstance(cues, MetaTensor) and torch.equal(cues.affine, image.affine)
    assert (cues == 1).sum() == 4


def test_tags_that_do_not_fit_are_refused():
    make = TagCues(bright_spot_finder(2))
    with pytest.raises(ValueError, match="tags have 2 rows for 3 slices"):
        make(volume(), torch.ones(2, 2))
    with pytest.raises(ValueError, match="tags must be 2 numbers"):
        make(volume(), np.ones((3, 4)))
