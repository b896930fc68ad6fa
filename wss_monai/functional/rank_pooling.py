# SPDX-License-Identifier: Apache-2.0
"""Global weighted rank pooling: a mean over all voxels in which the j-th largest value weighs decay^(j-1).

Decay 0 is the maximum, decay 1 the mean. A decay belongs to a number of voxels: ``rescale_decay`` carries it to another
grid, ``decay_of_share`` finds it from the share of the voxels that is to hold half of the weight.
Source: Kolesnikov and Lampert, ECCV 2016 (arXiv 1603.06098), section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PUBLISHED_VOXELS = 1681
"""Voxels of the grid (41 x 41) that the published decays .996 and .999 belong to."""


def rank_pooling(values: Tensor, decay: float | Sequence[float]) -> Tensor:
    """Weighted mean of the voxels of each class, by rank.

    Args:
        values: (B, K, *spatial), float32 or wider.
        decay: one number in [0, 1], or one a class (K).

    Returns:
        (B, K). The gradient is finite everywhere; at decay 0 voxels that tie for the maximum share it.

    Raises:
        ValueError: a decay outside [0, 1], or as many decays as there are no classes; no voxel.
    """
    flat = values.flatten(2)
    classes, voxels = flat.shape[1:]
    if voxels == 0:
        raise ValueError(f"values must hold at least one voxel, got the shape {tuple(values.shape)}.")
    decays = decays_of(decay, classes)
    if not any(decays):
        return flat.amax(-1)
    ranks = max(_ranks_that_count(d, voxels, flat.dtype) for d in decays)
    # A few ranks are found faster than the whole order.
    ordered = flat.topk(ranks).values if 8 * ranks < voxels else flat.sort(-1, descending=True).values[..., :ranks]
    slope = torch.tensor([math.log(d) if d > 0 else -1e4 for d in decays], dtype=torch.float64).to(flat)
    rank = torch.arange(ranks, device=flat.device, dtype=flat.dtype)
    weight = (slope[:, None] * rank).exp()
    return (ordered * (weight / weight.sum(-1, keepdim=True))).sum(-1)


def decays_of(decay: float | Sequence[float], classes: int, name: str = "decay") -> list[float]:
    """One decay a class, from one number or one a class.

    Raises:
        ValueError: a decay outside [0, 1], or a number of decays that is not the number of classes.
    """
    decays = [float(d) for d in decay] if isinstance(decay, Sequence) else [float(decay)] * classes
    if len(decays) != classes:
        raise ValueError(f"{name} must be one number or one for each of {classes} classes, got {len(decays)} of them.")
    if not all(0 <= d <= 1 for d in decays):
        raise ValueError(f"{name} must lie between 0 (maximum) and 1 (mean), got {decay!r}.")
    return decays


def rescale_decay(decay: float, voxels: int, reference: int = PUBLISHED_VOXELS) -> float:
    """The decay on a grid of ``voxels`` that weighs the same shares of it as ``decay`` does on ``reference`` voxels."""
    return decay ** (reference / voxels)


def decay_of_share(share: float, voxels: int = PUBLISHED_VOXELS) -> float:
    """The decay at which the largest ``share`` of the voxels holds half of the weight.

    The published decays are shares of .103 (foreground) and .311 (background): state a smaller one for small organs.

    Args:
        share: between 0 and 0.5; 0.5 is decay 1, the mean.
        voxels: of the grid that the decay is meant for.

    Raises:
        ValueError: a share outside (0, 0.5], or no voxels.
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"share must lie in (0, 0.5], got {share!r}: at 0.5 all voxels weigh the same.")
    if voxels < 1:
        raise ValueError(f"voxels must be 1 or more, got {voxels!r}.")
    if share == 0.5:
        return 1.0
    # with x = -voxels log(decay): (1 - exp(-share x)) / (1 - exp(-x)) rises from share to 1
    low, high = 0.0, 2 / share
    for _ in range(200):
        middle = (low + high) / 2
        if math.expm1(-share * middle) / math.expm1(-middle) < 0.5:
            low = middle
        else:
            high = middle
    return math.exp(-high / voxels)


def _ranks_that_count(decay: float, voxels: int, dtype: torch.dtype) -> int:
    """Ranks before the rest weighs less than the rounding of the type."""
    if decay in (0, 1):
        return voxels if decay else 1
    return min(math.ceil(math.log(torch.finfo(dtype).eps / 16) / math.log(decay)) + 1, voxels)
