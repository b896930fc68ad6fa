# SPDX-License-Identifier: Apache-2.0
"""Affine maps between voxel grids: matrices in tensor axis order, voxel centres at integers, and resampling by them."""

from __future__ import annotations

import itertools

import numpy as np
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


def resampling_grid(
    matrix: Tensor, shape: tuple[int, ...], device: torch.device | None = None, frame: tuple[int, ...] | None = None
) -> Tensor:
    """Grid (B, *frame, D) for ``grid_sample(align_corners=True)`` that applies input-to-output voxel matrices.

    Float32, on ``device`` (the matrices' own by default); ``shape`` of the input, ``frame`` of the output (None: it).
    """
    rows = grid_rows(matrix, shape, frame)
    return grid_of(send(rows, matrix.device if device is None else device), frame or shape)


def grid_rows(matrix: Tensor, shape: tuple[int, ...], frame: tuple[int, ...] | None = None) -> Tensor:
    """What each place along each axis adds to a grid: (B, sum of frame, D), float32, made on the host.

    ``shape`` is that of the input, ``frame`` that of the output (None: the same).

    A grid is a sum of one term an axis, so that only this much has to be computed in double precision and copied.
    """
    extent = np.array(shape, dtype=np.float64)
    centre, half = (extent - 1) / 2, np.maximum(extent - 1, 1) / 2
    inverse = torch.linalg.inv(matrix.cpu()).numpy()[:, :-1]  # from output voxels to input voxels
    slope = (inverse[:, :, :-1] / half[:, None])[:, ::-1]  # grid_sample wants the last axis first
    offset = ((inverse[:, :, -1] - centre) / half)[:, ::-1]
    terms = [slope[:, None, :, axis] * np.arange(count)[:, None] for axis, count in enumerate(frame or shape)]
    terms[0] += offset[:, None]
    return torch.from_numpy(np.concatenate(terms, 1).astype(np.float32))


def grid_of(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The grid (B, *shape, D), float32, of `grid_rows`, where those lie."""
    grid, *others = rows.split(shape, 1)
    for term in others:
        grid = grid.unsqueeze(-2) + term[(slice(None), *[None] * (grid.dim() - 2))]
    return grid


def warp_image(image: Tensor, grid: Tensor) -> Tensor:
    """Resample (B, C, *spatial) linearly; 0 outside."""
    return F.grid_sample(image, grid.to(image.dtype), mode="bilinear", padding_mode="zeros", align_corners=True)


def warp_index(index: Tensor, grid: Tensor) -> Tensor:
    """Resample uint8 class-index maps (B, C, *spatial) to the nearest voxel; 255 outside."""
    shifted = index + (256 - UNLABELLED)  # uint8 wraps: unlabelled becomes 0, what grid_sample pads with
    warped = F.grid_sample(shifted.to(grid.dtype), grid, mode="nearest", padding_mode="zeros", align_corners=True)
    return warped.to(torch.uint8) - (256 - UNLABELLED)


def moved_corners(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where the corner voxels of the input grid go: (B, 2^D, D)."""
    corners = np.array(list(itertools.product(*[(0.0, n - 1.0) for n in shape])))
    moved: np.ndarray = corners @ matrix[:, :-1, :-1].swapaxes(1, 2) + matrix[:, None, :-1, -1]
    return moved


def fraction_outside(
    matrix: np.ndarray, shape: tuple[int, ...], points: int = 64, frame: tuple[int, ...] | None = None
) -> np.ndarray:
    """Part (B,) of the input grid that leaves the frame (None: one of the same extent).

    It is counted on at least so many points an axis, or all of it.
    """
    axes = [np.arange(n)[:: max(1, n // points)] for n in shape]
    inside = np.ones((len(matrix), *map(len, axes)), dtype=bool)
    for row, count in enumerate(frame or shape):
        position = matrix[:, row, -1].reshape(-1, *[1] * len(shape))
        for column, axis in enumerate(axes):
            view = [len(matrix), *[len(axis) if other == column else 1 for other in range(len(shape))]]
            position = position + (matrix[:, row, column, None] * axis).reshape(view)
        inside &= np.abs(position - (count - 1) / 2) <= count / 2
    outside: np.ndarray = 1 - inside.reshape(len(matrix), -1).mean(1)
    return outside


def quarter_turns(dimensions: int, first: int, second: int) -> Tensor:
    """Matrices (4, D, D) of no, one, two and three quarter turns in the plane of two axes."""
    quarter = torch.eye(dimensions, dtype=torch.float64)
    quarter[first, first] = quarter[second, second] = 0
    quarter[first, second], quarter[second, first] = -1, 1
    return torch.stack([torch.linalg.matrix_power(quarter, n) for n in range(4)])
