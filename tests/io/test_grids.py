# SPDX-License-Identifier: Apache-2.0
"""When two grids are one: by how far a corner of the volume moves, in voxels."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from wss_monai.io.grids import Grid, read_grid, same_grid

SHAPE = (256, 256, 20)


def affine(spacing=(1.0, 1.0, 5.0), origin=(0.0, 0.0, 0.0), degrees=0.0) -> np.ndarray:
    """Voxels of this spacing, turned about the third axis."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array(spacing)
    matrix[:3, 3] = origin
    return matrix


@pytest.mark.parametrize(
    ("other", "one"),
    [
        (affine(), True),
        (affine(origin=(0.049, 0, 0)), True),
        (affine(origin=(0.051, 0, 0)), False),
        (affine(origin=(0, 0, 0.051)), False),  # of the shortest edge, whatever the axis
        (affine(spacing=(1.0001, 1, 5)), True),  # 255.5 * 0.0001 = 0.026 mm at the far corner
        (affine(spacing=(1.0003, 1, 5)), False),  # 0.077 mm
        (affine(spacing=(1.009, 1, 5)), False),
        (affine(degrees=0.005), True),  # 361 mm * 8.7e-5 = 0.03 mm
        (affine(degrees=0.6), False),
    ],
)
def test_by_the_corner_that_moves_furthest(other, one):
    assert same_grid(affine(), other, SHAPE) is one
    assert same_grid(other, affine(), SHAPE) is one


def test_a_slice_off_far_from_the_origin_is_another_grid():
    """Relative to an origin of -1250 mm a slice of 1.25 mm is a thousandth."""
    here = affine(spacing=(1, 1, 1.25), origin=(-100, -100, -1250))
    there = affine(spacing=(1, 1, 1.25), origin=(-100, -100, -1251.25))
    assert not same_grid(here, there, SHAPE)


def test_micrometres_count_in_voxels():
    here = affine(spacing=(0.005, 0.005, 0.005))
    assert not same_grid(here, affine(spacing=(0.005, 0.005, 0.005), origin=(0.005, 0, 0)), (64, 64, 64))
    assert same_grid(here, affine(spacing=(0.005, 0.005, 0.005), origin=(0.0002, 0, 0)), (64, 64, 64))


def test_a_2d_image_has_four_corners():
    assert same_grid(affine(spacing=(1, 1, 1)), affine(spacing=(1, 1, 3)), (10, 10))
    assert not same_grid(affine(spacing=(1, 1, 1)), affine(spacing=(1.1, 1, 1)), (10, 10))


def test_what_a_header_says(tmp_path):
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 1), np.uint8), affine((2, 3, 4))), path)
    grid = read_grid(str(path))
    assert grid.shape == (3, 4, 5)
    assert grid.spacing == (2.0, 3.0, 4.0)
    assert grid.voxel_ml == pytest.approx(0.024)
    assert grid.axes == "RAS" and not grid.mirrored
    assert Grid((3, 4, 5), affine((2, 3, 4), degrees=30)).axes == "oblique"
