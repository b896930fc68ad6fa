# SPDX-License-Identifier: Apache-2.0
"""Affine maps between voxel grids: matrices in tensor axis order, voxel centres at integers, and resampling by them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.transfer import send


def about_centre(linear: Tensor, shift: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Matrices (B, D+1, D+1) of ``linear`` (B, D, D) about the centre of ``shape``, then ``shift`` (B, D)."""
    dimensions = len(shape)
    centre = torch.tensor([(n - 1) / 2 for n in shape], dtype=linear.dtype, device=linear.device)
    matrix = torch.eye(dimensions + 1, dtype=linear.dtype, device=linear.device).repeat(len(linear), 1, 1)
    matrix[:, :-1, :-1] = linear
    matrix[:, :-1, -1] = centre - linear @ centre + shift
    return matrix


def resampling_grid(matrix: Tensor, shape: tuple[int, ...], device: torch.device | None = None) -> Tensor:
    """Grid (B, *shape, D) for ``grid_sample(align_corners=True)`` that applies input-to-output voxel matrices.

    Float32, on ``device`` (the matrices' own by default); a sum of one term an axis, which is faster than a product.
    """
    extent = torch.tensor(shape, dtype=matrix.dtype, device=matrix.device)
    centre, half = (extent - 1) / 2, (extent - 1).clamp(min=1) / 2
    inverse = torch.linalg.inv(matrix)[:, :-1]  # from output voxels to input voxels
    slope = inverse[:, :, :-1] / half[:, None]
    offset = (inverse[:, :, -1] - centre) / half
    both = send(torch.cat((slope, offset[..., None]), -1).flip(1), device)  # grid_sample wants the last axis first
    slope, terms = both[..., :-1], both[..., -1].view(-1, *[1] * len(shape), len(shape))
    for axis, count in enumerate(shape):
        steps = slope[:, None, :, axis] * torch.arange(count, dtype=slope.dtype, device=slope.device)[:, None]
        view = [len(matrix), *[count if other == axis else 1 for other in range(len(shape))], len(shape)]
        terms = (terms + steps.view(view)) if axis == 0 else terms.float() + steps.view(view).float()
    return terms.float()


def warp_image(image: Tensor, grid: Tensor) -> Tensor:
    """Resample (B, C, *spatial) linearly; 0 outside."""
    return F.grid_sample(image, grid.to(image.dtype), mode="bilinear", padding_mode="zeros", align_corners=True)


def warp_index(index: Tensor, grid: Tensor) -> Tensor:
    """Resample uint8 class-index maps (B, C, *spatial) to the nearest voxel; 255 outside."""
    shifted = index + (256 - UNLABELLED)  # uint8 wraps: unlabelled becomes 0, what grid_sample pads with
    warped = F.grid_sample(shifted.to(grid.dtype), grid, mode="nearest", padding_mode="zeros", align_corners=True)
    return warped.to(torch.uint8) - (256 - UNLABELLED)


def moved_corners(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Where the corner voxels of the input grid go: (B, 2^D, D)."""
    corners = torch.cartesian_prod(*[torch.tensor([0.0, n - 1.0], dtype=matrix.dtype) for n in shape])
    return corners.to(matrix.device) @ matrix[:, :-1, :-1].mT + matrix[:, None, :-1, -1]


def fraction_outside(matrix: Tensor, shape: tuple[int, ...], points: int = 64) -> Tensor:
    """Part (B,) of the input grid that leaves the frame; counted on at least so many points an axis, or all of it."""
    axes = [torch.arange(n, dtype=matrix.dtype, device=matrix.device)[:: max(1, n // points)] for n in shape]
    inside = torch.ones(len(matrix), *[len(axis) for axis in axes], dtype=torch.bool, device=matrix.device)
    for row, count in enumerate(shape):
        position = matrix[:, row, -1].view(-1, *[1] * len(shape))
        for column, axis in enumerate(axes):
            view = [len(matrix), *[len(axis) if other == column else 1 for other in range(len(shape))]]
            position = position + (matrix[:, row, column, None] * axis).view(view)
        inside &= (position - (count - 1) / 2).abs() <= count / 2
    return 1 - inside.flatten(1).double().mean(1)


def quarter_turns(dimensions: int, first: int, second: int) -> Tensor:
    """Matrices (4, D, D) of no, one, two and three quarter turns in the plane of two axes."""
    quarter = torch.eye(dimensions, dtype=torch.float64)
    quarter[first, first] = quarter[second, second] = 0
    quarter[first, second], quarter[second, first] = -1, 1
    return torch.stack([torch.linalg.matrix_power(quarter, n) for n in range(4)])
