# SPDX-License-Identifier: Apache-2.0
"""How much a map of the image stretches lines, areas and volumes, and what that leaves of bounds."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear_part(matrix: Tensor) -> Tensor:
    """What a map (B, D+1, D+1) does besides shifting, (B, D, D)."""
    return matrix[:, :-1, :-1]


def stretch_of(matrix: Tensor, spacing: tuple[Tensor, Tensor] | None) -> Tensor:
    """Singular values (B, D), largest first, of the map in mm where spacing is known, else in voxels."""
    return torch.linalg.svdvals(_in_mm(matrix, spacing))


def _in_mm(matrix: Tensor, spacing: tuple[Tensor, Tensor] | None) -> Tensor:
    """The linear part of a map in mm where spacing is known, else in voxels."""
    linear = linear_part(matrix).double()
    if spacing is None:
        return linear
    before, after = (s.to(linear) for s in spacing)
    return after.unsqueeze(-1) * linear / before.unsqueeze(-2)


def boundary_stretch(matrix: Tensor, spacing: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Least and greatest factor by which the measure of a (D-1)-dimensional boundary changes."""
    stretch = stretch_of(matrix, spacing)
    return stretch[:, 1:].prod(-1), stretch[:, :-1].prod(-1)


def face_stretch(matrix: Tensor, spacing: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Least and greatest factor by which a border that is counted in faces of voxels changes.

    Its measure is the integral of the sum |n| of its normal's coordinates, and the map turns n into C n, where C is the
    matrix of cofactors: the factor is at most the greatest column sum of |C|, and at least 1 over that of C's inverse.
    """
    linear = _in_mm(matrix, spacing)
    inverse, _ = torch.linalg.inv_ex(linear)
    volume = torch.linalg.det(linear).view(-1, 1, 1)
    most = (volume * inverse.mT).abs().sum(-2).amax(-1)
    least = 1 / (linear.mT / volume).abs().sum(-2).amax(-1)
    return least, most


def between(bounds: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """Lower sides times ``least``, upper sides times ``most`` (B,), for measures >= 0."""
    return bounds * torch.stack((least, most), -1).to(bounds.dtype)[:, None, None]


def unbounded_where(bounds: Tensor, cut: Tensor, *, keep_upper: bool = False) -> Tensor:
    """Drop the bounds of the classes ``cut`` (B, K), or their lower side only."""
    free = torch.stack((cut, torch.zeros_like(cut) if keep_upper else cut), -1).unsqueeze(-2)
    nothing = bounds.new_tensor([-math.inf, math.inf])
    return torch.where(free, nothing, bounds)
