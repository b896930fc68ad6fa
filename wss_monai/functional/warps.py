# SPDX-License-Identifier: Apache-2.0
"""Affine maps between voxel grids: matrices in tensor axis order, voxel centres at integers, and resampling by them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wss_monai.functional import UNLABELLED


def about_centre(linear: Tensor, shift: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Matrices (B, D+1, D+1) of ``linear`` (B, D, D) about the centre of ``shape``, then ``shift`` (B, D)."""
    dimensions = len(shape)
    centre = torch.tensor([(n - 1) / 2 for n in shape], dtype=linear.dtype)
    matrix = torch.eye(dimensions + 1, dtype=linear.dtype).repeat(len(linear), 1, 1)
    matrix[:, :-1, :-1] = linear
    matrix[:, :-1, -1] = centre - linear @ centre + shift
    return matrix


def resampling_grid(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Grid (B, *shape, D) for ``grid_sample(align_corners=True)`` that applies input-to-output voxel matrices."""
    dimensions = len(shape)
    half = torch.tensor([max(n - 1, 1) / 2 for n in shape], dtype=matrix.dtype, device=matrix.device)
    to_voxel = torch.eye(dimensions + 1, dtype=matrix.dtype, device=matrix.device)
    to_voxel[range(dimensions), range(dimensions)] = half
    to_voxel[:-1, -1] = torch.tensor([(n - 1) / 2 for n in shape], dtype=matrix.dtype, device=matrix.device)
    theta = torch.linalg.solve(to_voxel, torch.linalg.solve(matrix, to_voxel.expand_as(matrix)))[:, :-1]
    order = [*reversed(range(dimensions))]
    theta = torch.cat((theta[:, order][:, :, order], theta[:, order, -1:]), -1)
    return F.affine_grid(theta.float(), [len(matrix), 1, *shape], align_corners=True)


def warp_image(image: Tensor, grid: Tensor) -> Tensor:
    """Resample (B, C, *spatial) linearly; 0 outside."""
    return F.grid_sample(image, grid.to(image.dtype), mode="bilinear", padding_mode="zeros", align_corners=True)


def warp_index(index: Tensor, grid: Tensor) -> Tensor:
    """Resample uint8 class-index maps (B, C, *spatial) to the nearest voxel; 255 outside."""
    shifted = (index + (256 - UNLABELLED)).to(
        grid.dtype
    )  # uint8 wraps: unlabelled becomes 0, what grid_sample pads with
    warped = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=True)
    return warped.to(torch.uint8) - (256 - UNLABELLED)


def voxel_positions(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Where each voxel of the input grid goes: (B, D, *shape)."""
    axes = [torch.arange(n, dtype=matrix.dtype, device=matrix.device) for n in shape]
    position = matrix[:, :-1, -1].reshape(len(matrix), len(shape), *[1] * len(shape))
    for axis, coordinate in enumerate(axes):
        view = [1] * len(shape)
        view[axis] = -1
        column = matrix[:, :-1, axis].reshape(len(matrix), len(shape), *[1] * len(shape))
        position = position + column * coordinate.view(view)
    return position
