# SPDX-License-Identifier: Apache-2.0
"""Widths and features of the CRF's kernels, checked: positions in standard deviations, then image channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Width = float | Sequence[float]


def widths(name: str, value: Width, count: int, what: str) -> list[float]:
    """``count`` positive numbers from one number or one an ``what``.

    Raises:
        ValueError: a wrong count, or a width that is not positive and finite.
    """
    try:
        given = [float(number) for number in (value if isinstance(value, Sequence) else [value])]
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number or one an {what}, got {value!r}.") from None
    if len(given) not in (1, count):
        raise ValueError(f"{name} must hold one number or one an {what} ({count}), got {len(given)}: {value!r}.")
    if not all(math.isfinite(number) and number > 0 for number in given):
        raise ValueError(f"{name} is a kernel's width and must be positive and finite, got {value!r}.")
    return given * count if len(given) == 1 else given


def voxel_sizes(spacing: object, batch: int, dimensions: int) -> Tensor:
    """Spacing as (B, D) float64 on the CPU; ones where None.

    Raises:
        ValueError: neither (D,) nor (B, D), or a spacing that is not positive and finite.
    """
    if spacing is None:
        return torch.ones(batch, dimensions, dtype=torch.float64)
    given = torch.as_tensor(spacing, dtype=torch.float64).detach().cpu()
    if given.shape not in ((dimensions,), (batch, dimensions)):
        raise ValueError(
            f"spacing must be (D,) or (B, D) mm a voxel, here ({dimensions},) or ({batch}, {dimensions}), "
            f"got shape {tuple(given.shape)}."
        )
    if not bool((torch.isfinite(given) & (given > 0)).all()):
        raise ValueError(f"spacing must be positive and finite mm a voxel, got {given.tolist()}.")
    return given.expand(batch, dimensions)


def spatial_features(sigma: Tensor, shape: Sequence[int]) -> Tensor:
    """Positions (B, N, D') in standard deviations, float64, last axis first, without axes of one voxel.

    Args:
        sigma: (B, D) width along each axis in voxels.
        shape: the D spatial sizes.
    """
    parts = [torch.zeros(len(sigma), *shape, 0, dtype=torch.float64, device=sigma.device)]
    for axis in reversed(range(len(shape))):
        if shape[axis] > 1:
            view = [1] * len(shape)
            view[axis] = shape[axis]
            index = torch.arange(shape[axis], dtype=torch.float64, device=sigma.device).reshape(view)
            scaled = index / sigma[:, axis].reshape(-1, *[1] * len(shape))
            parts.append(scaled.expand(len(sigma), *shape)[..., None])
    return torch.cat(parts, -1).flatten(1, -2)


def bilateral_features(image: Tensor, sigma: Tensor, theta_beta: Sequence[float]) -> Tensor:
    """Features (B, N, F) of the bilateral kernel: positions, last axis first, then the channels, each in sigmas.

    An axis of one voxel tells nothing and is left out (a lattice would become coarser by it). The order is that of
    pydensecrf (x, y, z, colour); a lattice's error depends on it.

    Args:
        image: (B, C, *spatial), floating.
        sigma: (B, D) width along each axis in voxels.
        theta_beta: C widths.
    """
    place = spatial_features(sigma, image.shape[2:]).to(image.dtype)
    colour = image.flatten(2).transpose(1, 2) / torch.tensor(theta_beta, dtype=image.dtype, device=image.device)
    return torch.cat([place, colour], -1)
