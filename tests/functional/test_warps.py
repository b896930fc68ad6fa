# SPDX-License-Identifier: Apache-2.0
"""Affine maps between voxel grids."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.warps import (
    about_centre,
    fraction_outside,
    moved_corners,
    resampling_grid,
    warp_image,
    warp_index,
)


def matrix_of(linear: list[list[float]], shift: list[float], shape: tuple[int, ...]) -> torch.Tensor:
    return about_centre(torch.tensor([linear]).double(), torch.tensor([shift]).double(), shape)


def test_about_centre_keeps_the_centre_and_shifts():
    matrix = matrix_of([[0.0, -2.0], [1.0, 0.0]], [3.0, -1.0], (5, 9))
    centre = torch.tensor([2.0, 4.0, 1.0]).double()
    assert (matrix[0] @ centre).tolist() == [5.0, 3.0, 1.0]


@pytest.mark.parametrize("shape", [(6, 7), (5, 6, 7)])
def test_one_voxel_goes_where_the_matrix_says(shape):
    dimensions = len(shape)
    shift = [1.0, -2.0, 2.0][:dimensions]
    matrix = matrix_of(torch.eye(dimensions).tolist(), shift, shape)
    start = torch.tensor([3, 4, 2][:dimensions])
    end = (start + torch.tensor(shift)).long()
    index = torch.zeros(1, 1, *shape, dtype=torch.uint8)
    index[(0, 0, *start.tolist())] = 3
    grid = resampling_grid(matrix, shape)
    assert (warp_index(index, grid) == 3).nonzero()[:, 2:].tolist() == [end.tolist()]
    moved = warp_image(index.float(), grid)
    assert moved[(0, 0, *end.tolist())].item() == pytest.approx(3, abs=1e-4)


def test_matrix_takes_input_to_output_in_axis_order():
    shape = (9, 9)
    matrix = matrix_of([[0.0, -1.0], [1.0, 0.0]], [0.0, 0.0], shape)  # axis 0 <- -axis 1, axis 1 <- axis 0
    index = torch.zeros(1, 1, *shape, dtype=torch.uint8)
    index[0, 0, 1, 6] = 1
    place = (warp_index(index, resampling_grid(matrix, shape)) == 1).nonzero()[0, 2:]
    expected = matrix[0] @ torch.tensor([1.0, 6.0, 1.0]).double()
    assert place.tolist() == expected[:2].tolist() == [2, 1]


@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (4, 6, 6)])
def test_flips_and_quarter_turns_are_exact(shape):
    dimensions = len(shape)
    image = torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    index = torch.randint(0, 256, (1, 1, *shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    flip = torch.eye(dimensions)
    flip[-1, -1] = -1
    grid = resampling_grid(matrix_of(flip.tolist(), [0.0] * dimensions, shape), shape)
    torch.testing.assert_close(warp_image(image, grid), image.flip(-1), rtol=0, atol=1e-5)
    assert torch.equal(warp_index(index, grid), index.flip(-1))
    turn = torch.eye(dimensions)
    turn[-2:, -2:] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    grid = resampling_grid(matrix_of(turn.tolist(), [0.0] * dimensions, shape), shape)
    expected = torch.full_like(index, 77)
    last = shape[-1] - 1
    for row in range(shape[-2]):
        for column in range(shape[-1]):  # axis 0 <- -axis 1, axis 1 <- axis 0, about the centre
            expected[..., last - column, row] = index[..., row, column]
    assert torch.equal(warp_index(index, grid), expected)


def test_outside_is_zero_in_images_and_unlabelled_in_maps():
    shape = (6, 6)
    grid = resampling_grid(matrix_of([[1.0, 0.0], [0.0, 1.0]], [2.0, 0.0], shape), shape)
    index = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6)
    index[0, 0, 0, 0] = 255
    index[0, 0, 0, 1] = 254
    warped = warp_index(index, grid)
    assert warped.dtype == torch.uint8
    assert (warped[0, 0, :2] == 255).all()
    assert torch.equal(warped[0, 0, 2:], index[0, 0, :4])
    image = warp_image(torch.ones(1, 1, 6, 6), grid)
    assert image[0, 0, :2].abs().max() < 1e-5
    torch.testing.assert_close(image[0, 0, 2:], torch.ones(4, 6))


def test_each_sample_has_its_own_map():
    shape = (5, 5)
    linear = torch.eye(2).double().repeat(2, 1, 1)
    matrix = about_centre(linear, torch.tensor([[0.0, 0.0], [0.0, 1.0]]).double(), shape)
    index = torch.randint(0, 4, (2, 1, 5, 5), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    warped = warp_index(index, resampling_grid(matrix, shape))
    assert torch.equal(warped[0], index[0])
    assert torch.equal(warped[1, ..., 1:], index[1, ..., :-1])


def test_thin_axes_are_kept():
    shape = (1, 6, 6)
    grid = resampling_grid(matrix_of(torch.eye(3).tolist(), [0.0, 1.0, 0.0], shape), shape)
    image = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(warp_image(image, grid)[:, :, :, 1:], image[:, :, :, :-1], rtol=0, atol=1e-5)


def test_warps_match_a_rotation_by_hand():
    shape = (41, 41)
    angle = math.radians(25)
    c, s = math.cos(angle), math.sin(angle)
    matrix = matrix_of([[c, -s], [s, c]], [4.0, -3.0], shape)
    y, x = torch.meshgrid(torch.arange(41.0), torch.arange(41.0), indexing="ij")
    blob = torch.exp(-((y - 12) ** 2 + (x - 17) ** 2) / 18)[None, None]
    moved = warp_image(blob, resampling_grid(matrix, shape))[0, 0]
    centre = torch.stack([(moved * y).sum(), (moved * x).sum()]) / moved.sum()
    expected = (matrix[0] @ torch.tensor([12.0, 17.0, 1.0]).double())[:2].float()
    torch.testing.assert_close(centre, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("shape", [(9, 14), (5, 6, 7)])
def test_grid_equals_torch(shape):
    dimensions = len(shape)
    linear = torch.randn(3, dimensions, dimensions, generator=torch.Generator().manual_seed(0)).double() + torch.eye(
        dimensions
    )
    matrix = about_centre(linear, torch.ones(3, dimensions).double(), shape)
    to_voxel = torch.eye(dimensions + 1).double()
    to_voxel[range(dimensions), range(dimensions)] = (torch.tensor(shape).double() - 1) / 2
    to_voxel[:-1, -1] = (torch.tensor(shape).double() - 1) / 2
    theta = torch.linalg.inv(to_voxel) @ torch.linalg.inv(matrix) @ to_voxel
    order = [*reversed(range(dimensions)), dimensions]
    theta = theta[:, order][:, :, order][:, :-1]
    expected = torch.nn.functional.affine_grid(theta, [3, 1, *shape], align_corners=True)
    grid = resampling_grid(matrix, shape)
    assert grid.dtype == torch.float32
    torch.testing.assert_close(grid.double(), expected, rtol=1e-5, atol=1e-5)


def test_corners_and_the_part_that_leaves():
    shape = (10, 20)
    matrix = matrix_of([[1.0, 0.0], [0.0, 1.0]], [3.0, 0.0], shape)
    corners = moved_corners(matrix.numpy(), shape)
    assert corners[0].tolist() == [[3, 0], [3, 19], [12, 0], [12, 19]]
    assert fraction_outside(matrix.numpy(), shape).tolist() == pytest.approx([0.3])
    assert fraction_outside(matrix_of([[-1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], shape).numpy(), shape).tolist() == [0]
    cube = matrix_of((2 * torch.eye(3)).tolist(), [0.0] * 3, (8, 8, 8)).numpy()
    assert fraction_outside(cube, (8, 8, 8)).tolist() == pytest.approx([1 - 1 / 8])
    turned = matrix_of([[0.8, -0.6], [0.6, 0.8]], [5.0, -9.0], (200, 130)).numpy()
    coarse, fine = fraction_outside(turned, (200, 130)), fraction_outside(turned, (200, 130), points=999)
    assert coarse.item() == pytest.approx(fine.item(), abs=0.01)
