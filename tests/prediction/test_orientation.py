# SPDX-License-Identifier: Apache-2.0
"""When axes are turned, by hand."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from wss_monai.io.grids import Grid
from wss_monai.prediction.orientation import AS_STORED, axes_for, unlike

SHORT_AXIS = {
    "volumes": 4, "axes": {"LPS": 4}, "directions": {"LPS": 4}, "spacing_mm": [1.4, 1.4, 10.0],
    "spacing_range_mm": [[1.2, 1.6], [1.2, 1.6], [8.0, 10.0]], "slices": [6, 18],
}  # fmt: skip
OBLIQUE = SHORT_AXIS | {"axes": {"oblique": 4}, "directions": {"LPS": 2, "LIP": 2}}


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
    both = SHORT_AXIS | {"directions": {"LPS": 3, "RAS": 1}}
    assert axes_for(grid("RAS"), both, 2) == (AS_STORED, "")
    assert axes_for(grid("LPS", shape=(60, 50)), SHORT_AXIS, 2) == (AS_STORED, ""), "a plane has no third axis"
    assert axes_for(grid("PSR"), {}, 2) == (AS_STORED, "")


def test_oblique_hearts_are_turned_by_their_slices_alone():
    """Nearest directions differ between patients whose files are all stored alike."""
    tilted = grid("LPS", tilt=0.7)
    assert axes_for(tilted, OBLIQUE, 2) == (AS_STORED, "")
    axes, told = axes_for(grid("RSP", (10.0, 1.4, 1.4), (9, 60, 50), 0.6), OBLIQUE, 2)
    assert axes.order == (1, 2, 0) and not any(axes.flips)
    assert "its slices lie along axis 0, those of training along axis 2" in told and "mirrored" in told


def test_what_is_unlike_is_told_with_numbers():
    assert unlike(grid(), AS_STORED, SHORT_AXIS, 2) == []
    thick = unlike(grid(spacing=(1.4, 1.4, 25.0), shape=(60, 50, 90)), AS_STORED, SHORT_AXIS, 2)
    assert "its spacing is 1.4 x 1.4 x 25 mm; in training it was 1.4 x 1.4 x 10 mm (median; 1.2 to 1.6" in thick[0]
    assert thick[1] == "it has 90 slices; in training volumes had 6 to 18"
    assert unlike(grid(spacing=(1.4, 1.4, 25.0)), AS_STORED, {"volumes": 0}, 2) == []
    turned, _ = axes_for(grid("PSR", (1.4, 10.0, 1.4), (60, 9, 50)), SHORT_AXIS, 2)
    assert unlike(grid("PSR", (1.4, 10.0, 1.4), (60, 9, 50)), turned, SHORT_AXIS, 2) == []
