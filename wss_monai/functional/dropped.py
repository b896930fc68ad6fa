# SPDX-License-Identifier: Apache-2.0
"""Dropout of single values that draws eight at once."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dropped"]

STEPS = 256


def dropped(values: Tensor, share: float, channels: bool = False) -> Tensor:
    """Values of which a share, by chance, are 0 and the others as much larger that the mean stays.

    As ``torch.nn.functional.dropout`` in training, with a byte for each draw instead of a number, from PyTorch's
    generator of the device: on a CPU that takes a quarter of the time, where the plain one takes a tenth of a step.

    Args:
        values: of any shape.
        share: from 0 to less than 1, rounded to steps of 1/256 below 1.
        channels: drop whole channels of values (B, C, *spatial), as ``torch.nn.functional.dropout2d`` does.

    Returns:
        The shape, type and memory format of the values.
    """
    limit = min(round(STEPS * share), STEPS - 1)
    if limit <= 0:
        return values
    if channels:
        kept = dropped(values.new_ones(values.shape[:2]), share)
        return values * kept.reshape(*kept.shape, *[1] * (values.dim() - 2))
    words = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device).random_(-(2**63), None)
    drawn = words.view(torch.uint8)[: values.numel()].as_strided(values.shape, torch.empty_like(values).stride())
    return values * ((drawn >= limit).to(values.dtype) * (STEPS / (STEPS - limit)))
