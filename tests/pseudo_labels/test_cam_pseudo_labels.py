# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels of maps that are known: a network whose foreground map is the image itself."""

from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from torch import nn

from wss_monai.pseudo_labels import CAMPseudoLabels
from wss_monai.transforms import RefineByDenseCRF

PRESENT, ABSENT, UNKNOWN = [1, 1], [1, 0], [1, -1]


class ImageAsMap(nn.Module):
    """Each modality: a background map of 0, and the image as the map of the foreground."""

    def forward(self, x):
        return torch.stack((torch.zeros_like(x), x), 2).flatten(1, 2)


def make(modalities=1, **options):
    return CAMPseudoLabels(ImageAsMap(), modalities, **options)


def volume(*slices):
    """(1, 2, 5, S) of slices of ten values each."""
    return torch.stack([torch.tensor(values, dtype=torch.float32).reshape(2, 5) for values in slices], -1)[None]


RAMP = [0.0, 0.1, 0.19, 0.21, 0.3, 0.5, 0.59, 0.61, 0.8, 1.0]
DRAWN = [0, 0, 0, 255, 255, 255, 255, 1, 1, 1]


def of(index, s):
    return index[0, ..., s].flatten().tolist()


def test_what_a_slice_gets_depends_on_its_tag():
    low, high = [v - 20 for v in RAMP], [v * 20 for v in RAMP]
    image = volume(RAMP, RAMP, low, high, RAMP, low)
    tags = torch.tensor([ABSENT, PRESENT, PRESENT, UNKNOWN, UNKNOWN, UNKNOWN])
    index = make()(image, tags)
    assert index.shape == (1, 2, 5, 6) and index.dtype == torch.uint8 and not isinstance(index, MetaTensor)
    assert of(index, 0) == [0] * 10
    assert of(index, 1) == DRAWN
    assert of(index, 2) == [255] * 10  # nowhere positive: nothing is known, though it is present
    assert of(index, 3) == DRAWN  # surely present: sigmoid(8.6)
    assert of(index, 4) == [255] * 10  # sigmoid(0.43) = 0.61
    assert of(index, 5) == [0] * 10  # surely absent
    never = make(confident=None)(image, tags)
    assert of(never, 1) == DRAWN and all(of(never, s) == [255] * 10 for s in (3, 4, 5))
    assert of(make(confident=0.6)(image, tags), 4) == DRAWN


def test_a_volume_is_never_emptied_by_guesses():
    image = volume([-20.0] * 10, [-20.0] * 10)
    assert (make()(image, torch.tensor([UNKNOWN, UNKNOWN])) == 255).all()
    assert of(make()(image, torch.tensor([ABSENT, UNKNOWN])), 0) == [0] * 10
    assert of(make()(image, torch.tensor([ABSENT, UNKNOWN])), 1) == [255] * 10
    assert of(make()(image, torch.tensor([PRESENT, UNKNOWN])), 1) == [0] * 10


def test_all_modalities_in_use_have_to_be_confident():
    sure, unsure = volume([v * 20 for v in RAMP], RAMP), volume(RAMP, RAMP)
    image, tags = torch.cat((sure, unsure)), torch.tensor([UNKNOWN, PRESENT])
    assert of(make(["T2", "ADC"])(image, tags), 0) == [255] * 10
    assert of(make(["T2", "ADC"], fuse="T2")(image, tags), 0) == DRAWN
    assert of(make(["T2", "ADC"], fuse="ADC")(image, tags), 0) == [255] * 10


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_inferer_axis_and_meta_data(axis):
    image = torch.rand(1, 6, 7, 5, generator=torch.Generator().manual_seed(0))
    tags = torch.tensor([[1, int(s % 2)] for s in range(5)])
    affine = torch.diag(torch.tensor([2.0, 2.0, 4.0, 1.0], dtype=torch.float64))
    expected = make()(image, tags)
    turned = MetaTensor(image.movedim(3, axis + 1), affine=affine)
    for inferer in (None, SliceInferer(roi_size=(4, 4), spatial_dim=axis, overlap=0.5)):
        index = make(slice_axis=axis, inferer=inferer)(turned, tags)
        assert isinstance(index, MetaTensor) and torch.equal(index.affine, affine)
        assert torch.equal(index.as_tensor(), expected.movedim(3, axis + 1))


def test_an_image_of_two_axes_and_a_volume_with_one_tag():
    flat = volume(RAMP)[..., 0]
    for inferer in (None, SliceInferer(roi_size=(2, 5), spatial_dim=2)):
        assert make(inferer=inferer)(flat, torch.tensor([PRESENT])).flatten().tolist() == DRAWN
    whole = make(slice_axis=None)(volume(RAMP, [0.1 * v for v in RAMP]), torch.tensor(PRESENT))
    assert of(whole, 0) == DRAWN and of(whole, 1) == [0] * 10
    assert (make(slice_axis=None)(volume(RAMP), torch.tensor(ABSENT)) == 0).all()


def test_minimum_of_a_slice_that_is_weak_in_its_volume():
    image, tags = volume(RAMP, [0.3 * v for v in RAMP]), torch.tensor([PRESENT, PRESENT])
    assert of(make(normalize="volume", minimum=0)(image, tags), 1) == [255] * 10
    assert of(make(normalize="volume")(image, tags), 1) == [0] * 7 + [0, 255, 1]
    assert of(make(normalize="volume", minimum=2)(image, tags), 1) == [0] * 8 + [1, 1]
    assert of(make(normalize="volume", minimum=99)(image, tags), 1) == [0] + [1] * 9  # no voxel of score 0
    assert of(make(minimum=2)(image, tags), 0) == DRAWN  # more than that already


def test_largest_component():
    image = torch.zeros(1, 6, 6, 3)
    image[0, 0, 0:2, 0], image[0, 3:5, 3:5, 0] = 1.0, 0.9
    image[0, 0, 0:5, 1] = 1.0
    image[0, 2, 1, 1] = image[0, 4, 4, 2] = 0.9
    tags = torch.tensor([PRESENT, PRESENT, ABSENT])
    every = make()(image, tags)[0]
    assert [int((every[..., s] == 1).sum()) for s in range(3)] == [6, 6, 0]
    slices = make(keep_largest="slice")(image, tags)[0]
    assert (slices[3:5, 3:5, 0] == 1).all() and (slices[0, 0:2, 0] == 255).all()
    assert (slices[0, 0:5, 1] == 1).all() and slices[2, 1, 1] == 255
    assert [int((slices[..., s] == 1).sum()) for s in range(3)] == [4, 5, 0]
    for word in ("volume", True):
        whole = make(keep_largest=word)(image, tags)[0]
        assert int((whole == 1).sum()) == 7 and (whole[0, 0:2, 0] == 1).all() and (whole[0, 0:5, 1] == 1).all()
        assert (whole[3:5, 3:5, 0] == 255).all() and whole[2, 1, 1] == 255 and whole[5, 0, 0] == 0
    image[..., 1] = 0
    image[0, 5, 0, 1] = 1.0
    left = make(keep_largest="volume")(image, tags)[0]
    assert (left[3:5, 3:5, 0] == 1).all() and (left[..., 1] == 255).all() and (left[..., 2] == 0).all()


def test_soft_gate_and_crf():
    image, tags = volume([v - 0.5 for v in RAMP]), torch.tensor([PRESENT])  # probability of about 0.5
    assert 1 in of(make(minimum=0)(image, tags), 0)
    assert 1 not in of(make(minimum=0, gate="soft")(image, tags), 0)

    def crf(logits, given):
        assert given is image and logits.shape == (2, 2, 5, 1)
        assert (logits[1] > 0).flatten().tolist() == [v > 0.7 for v in RAMP]  # score 2 v - 1 above 0.4
        flipped = torch.where(logits[1] > 0, 0.1, 0.7)
        return torch.stack((1 - flipped, flipped)).log()

    assert of(make(crf=crf)(image, tags), 0) == [1] * 8 + [0, 0]
    refined = make(crf=RefineByDenseCRF(slice_axis=2, iterations=2))(MetaTensor(image), tags)
    assert set(refined.unique().tolist()) <= {0, 1, 255}


def test_background_that_is_tagged_absent_is_not_drawn():
    assert of(make()(volume(RAMP), torch.tensor([[0, 1]])), 0) == [255] * 7 + [1] * 3


def test_finish_on_the_grid_of_the_file():
    index = torch.full((1, 4, 4, 4), 255, dtype=torch.uint8)
    index[0, 1:3, 1:3] = torch.tensor([0, 0, 1, 0], dtype=torch.uint8)
    tags = torch.tensor([ABSENT, PRESENT, PRESENT, UNKNOWN])
    out = make().finish(index, tags)
    assert (out[..., 0] == 0).all()  # outside of the field too
    assert (out[..., 1] == 255).all()  # its foreground got lost
    assert torch.equal(out[..., 2:], index[..., 2:]) and (out[0, 0, :, 2] == 255).all()
    assert (index[0, 0, :, 0] == 255).all()  # the given map is as it was
    assert (make().finish(index, torch.tensor([[0, 0]] * 4)) == 255).all()
    assert (make(slice_axis=None).finish(index, torch.tensor(ABSENT)) == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"foreground": 0.2}, "foreground must be larger than background, got 0.2 and 0.2"),
        ({"foreground": 1.2}, "must lie in 0..1"),
        ({"background": -0.1}, "must lie in 0..1"),
        ({"foreground": math.nan}, "must lie in 0..1"),
        ({"confident": 0.5}, "confident must lie above 0.5"),
        ({"minimum": -1}, "minimum must be 0 or more"),
        ({"gate": "predicted"}, "gate must be one of tags, soft"),
        ({"keep_largest": "both"}, "keep_largest must be False or one of slice, volume"),
        ({"fuse": "FLAIR"}, "fuse must be one of"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize("tags", [[PRESENT, ABSENT], [[1, 0, 1]] * 3, [1, 0]])
def test_tags_that_do_not_fit(tags):
    with pytest.raises(ValueError, match="in 3 slices"):
        make()(volume(RAMP, RAMP, RAMP), torch.tensor(tags))
