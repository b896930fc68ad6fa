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
    linear = linear_part(matrix).double()
    if spacing is not None:
        before, after = (s.to(linear) for s in spacing)
        linear = after.unsqueeze(-1) * linear / before.unsqueeze(-2)
    return torch.linalg.svdvals(linear)


def boundary_stretch(matrix: Tensor, spacing: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Least and greatest factor by which the measure of a (D-1)-dimensional boundary changes."""
    stretch = stretch_of(matrix, spacing)
    return stretch[:, 1:].prod(-1), stretch[:, :-1].prod(-1)


def between(bounds: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """Lower sides times ``least``, upper sides times ``most`` (B,), for measures >= 0."""
    return bounds * torch.stack((least, most), -1).to(bounds.dtype)[:, None, None]


def unbounded_where(bounds: Tensor, cut: Tensor, *, keep_upper: bool = False) -> Tensor:
    """Drop the bounds of the classes ``cut`` (B, K), or their lower side only."""
    free = torch.stack((cut, torch.zeros_like(cut) if keep_upper else cut), -1).unsqueeze(-2)
    nothing = bounds.new_tensor([-math.inf, math.inf])
    return torch.where(free, nothing, bounds)
