# SPDX-License-Identifier: Apache-2.0
"""Class activation maps brought to 0..1 by their own smallest and largest value."""

from __future__ import annotations

import torch
from torch import Tensor

from wss_monai.functional.wide import wide

EPS = 1e-8


def max_norm(maps: Tensor, dims: int, eps: float = EPS) -> Tensor:
    """Rectify maps and scale each to 0..1: relu(p - min p - e) / (max p - min p + e) with p = relu(map).

    Differentiable, also through the smallest and the largest value. A map that is nowhere positive, or the same
    everywhere, becomes 0. Source: the released code of Patel and Dolz, MedIA 77:102374, 2022.

    Args:
        maps: (..., *spatial), float32 or wider; narrower ones are widened.
        dims: how many of the last axes are spatial.
        eps: e above.

    Returns:
        The same shape, in 0..1.

    Raises:
        ValueError: fewer axes than ``dims``, or none.
    """
    if not 1 <= dims <= maps.dim():
        raise ValueError(f"dims must be between 1 and the {maps.dim()} axes of the maps, got {dims}.")
    axes = tuple(range(-dims, 0))
    p = torch.relu(wide(maps))
    low, high = p.amin(axes, keepdim=True), p.amax(axes, keepdim=True)
    return torch.relu(p - low - eps) / (high - low + eps)
