# SPDX-License-Identifier: Apache-2.0
"""When axes are turned, by hand."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from wss_monai.io.geometry import unit_axes
from wss_monai.io.grids import Grid
from wss_monai.prediction.orientation import AS_STORED, axes_for, unlike

LPS, RAS = np.diag([-1.0, -1.0, 1.0]).tolist(), np.eye(3).tolist()
SHORT_AXIS = {
    "volumes": 4, "axes": {"LPS": 4}, "directions": {"LPS": 4}, "orientations": [LPS], "spacing_mm": [1.4, 1.4, 10.0],
    "spacing_range_mm": [[1.2, 1.6], [1.2, 1.6], [8.0, 10.0]], "slices": [6, 18],
}  # fmt: skip


def grid(codes="LPS", spacing=(1.4, 1.4, 10.0), shape=(60, 50, 9), tilt=0.0):
    affine = np.eye(4)
    affine[:3, :3] = nib.orientations.inv_ornt_aff(
        nib.orientations.axcodes2ornt(tuple(codes)), (1, 1, 1)
    )[:3, :3].T * np.array(spacing)  # fmt: skip
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    return Grid(tuple(shape), turn @ affine)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "PSR", "SLP", "AIR"])
def test_there_and_back(codes):
    stored = grid(codes)
    axes, told = axes_for(stored, SHORT_AXIS, 2)
    image = MetaTensor(torch.rand(1, 4, 5, 6), affine=torch.as_tensor(stored.affine))
    turned = axes(image)
    assert "".join(nib.aff2axcodes(np.asarray(turned.affine))) == "LPS"
    assert bool(told) == (codes != "LPS") and axes.same == (codes == "LPS")
    np.testing.assert_array_equal(axes.back(turned[0].numpy()), image[0].numpy())
    corner = np.asarray(turned.affine) @ [1, 2, 3, 1]
    index = np.round(np.linalg.solve(stored.affine, corner)[:3]).astype(int)
    assert float(turned[0, 1, 2, 3]) == float(image[(0, *index)]), "a voxel keeps its place in the body"


def test_axes_that_occur_in_training_stay():
    both = SHORT_AXIS | {"directions": {"LPS": 3, "RAS": 1}, "orientations": [LPS, RAS]}
    assert axes_for(grid("RAS"), both, 2) == (AS_STORED, "")
    assert axes_for(grid("LPS", shape=(60, 50)), SHORT_AXIS, 2) == (AS_STORED, ""), "a plane has no third axis"
    assert axes_for(grid("PSR"), {}, 2) == (AS_STORED, "")


def heart(first, second):
    """A short axis by two turns in degrees, as scanners tilt it."""
    a, b = np.deg2rad([first, second])
    one = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    two = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = one @ two @ np.diag([-1, -1, 1]) @ np.diag([1.4, 1.4, 10])
    return affine


@pytest.mark.parametrize("angles", [(40, 55), (50, 40), (35, 65), (60, 50)])
def test_oblique_hearts_are_told_from_transposed_and_mirrored_ones(angles):
    """Their nearest directions differ between patients whose files are all stored alike."""
    trained = Grid((60, 50, 9), heart(45, 50))
    oblique = SHORT_AXIS | {"axes": {"oblique": 1}, "directions": {"LIP": 1}}
    oblique |= {"orientations": [unit_axes(trained).tolist()]}
    stored = nib.Nifti1Image(np.arange(27000.0).reshape(60, 50, 9), heart(*angles))
    assert axes_for(Grid((60, 50, 9), stored.affine), oblique, 2) == (AS_STORED, "")
    for codes in ("PSR", "RAS", "LPS", "IRA"):
        turn = ornt_transform(io_orientation(stored.affine), axcodes2ornt(tuple(codes)))
        other = stored.as_reoriented(turn)
        axes, _ = axes_for(Grid(other.shape, other.affine), oblique, 2)
        back = axes(MetaTensor(torch.as_tensor(other.get_fdata().copy())[None], affine=torch.as_tensor(other.affine)))
        np.testing.assert_array_equal(back[0].numpy(), stored.get_fdata())


def test_a_volume_unlike_all_asks_to_be_looked_at():
    far = Grid((60, 50, 9), heart(45, 50) @ np.diag([1, 1, 0.14, 1]))  # no thick slices that would tell
    axes, told = axes_for(far, SHORT_AXIS | {"spacing_mm": [1.4, 1.4, 1.4]}, 2)
    assert axes == AS_STORED or "look at the mask" in told


def test_what_is_unlike_is_told_with_numbers():
    assert unlike(grid(), AS_STORED, SHORT_AXIS, 2) == []
    thick = unlike(grid(spacing=(1.4, 1.4, 25.0), shape=(60, 50, 90)), AS_STORED, SHORT_AXIS, 2)
    assert "its spacing is 1.4 x 1.4 x 25 mm; in training it was 1.4 x 1.4 x 10 mm (median; 1.2 to 1.6" in thick[0]
    assert thick[1] == "it has 90 slices; in training volumes had 6 to 18"
    assert unlike(grid(spacing=(1.4, 1.4, 25.0)), AS_STORED, {"volumes": 0}, 2) == []
    turned, _ = axes_for(grid("PSR", (1.4, 10.0, 1.4), (60, 9, 50)), SHORT_AXIS, 2)
    assert unlike(grid("PSR", (1.4, 10.0, 1.4), (60, 9, 50)), turned, SHORT_AXIS, 2) == []
