# SPDX-License-Identifier: Apache-2.0
"""What can be said of a soft mask: its mass inside a region and its centre; what descriptors are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.wide import wide

EPS = 1e-10


def in_region(region: Tensor) -> Tensor:
    """Where a region, of any shape, is neither 0 nor 255 (unknown)."""
    return (region > 0) & (region != UNLABELLED)


def inside(probs: Tensor, region: Tensor | None) -> Tensor:
    """Probabilities in float32 or wider, set to zero outside the region and where it is unknown."""
    probs = wide(probs)
    return probs if region is None else probs * in_region(region)


def coordinates(probs: Tensor) -> list[Tensor]:
    """Voxel indices along each spatial axis."""
    return [torch.arange(n, dtype=probs.dtype, device=probs.device) for n in probs.shape[2:]]


def centroid_of(probs: Tensor) -> Tensor:
    """Centre of mass (B, K, D) from the marginals, in voxel indices."""
    axes = range(2, probs.dim())
    marginals = [probs.sum([a for a in axes if a != axis]) if probs.dim() > 3 else probs for axis in axes]
    mass = marginals[0].sum(-1) + EPS
    return torch.stack([(m * x).sum(-1) / mass for m, x in zip(marginals, coordinates(probs), strict=True)], -1)


def as_image(values: Tensor, like: Tensor) -> Tensor:
    """Values (B, K) with singleton spatial axes."""
    return values.reshape(*values.shape, *[1] * (like.dim() - 2))


def voxel_steps(probs: Tensor, spacing: Tensor | None, name: str) -> Tensor:
    """Voxel size (B, D); ones where none is needed."""
    dimensions = probs.dim() - 2
    if spacing is None:
        if dimensions > 2:
            raise ValueError(f"{name} in 3D needs spacing (B, D) in mm: voxels need not be cubes.")
        return probs.new_ones(probs.shape[0], dimensions)
    if spacing.shape != (probs.shape[0], dimensions):
        raise ValueError(f"spacing must be (B, D) = {(probs.shape[0], dimensions)}, got {tuple(spacing.shape)}.")
    return spacing.to(probs)
