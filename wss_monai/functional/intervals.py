# SPDX-License-Identifier: Apache-2.0
"""Intervals (lower, upper) of a measure, infinite = no bound on that side."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from wss_monai.functional.descriptors import Descriptor

__all__ = ["NO_BOUND", "check_interval", "pairs_of"]

NO_BOUND = (-math.inf, math.inf)


def check_interval(bounds: Tensor, descriptor: Descriptor, where: str) -> Tensor:
    """Bounds (..., 2) with meaningless lower sides dropped; infeasible ones are refused by name."""
    lower, upper = bounds.unbind(-1)
    wrong = torch.isnan(bounds).any(-1) | (lower > upper)
    if descriptor.nonnegative:
        wrong |= upper < 0
        lower = torch.where(lower > 0, lower, -math.inf)
    if bool(wrong.any()):
        raise ValueError(
            f"bounds of '{descriptor.name}' for {where} cannot hold: {bounds[wrong][0].tolist()}; give (lower, upper) "
            "with lower <= upper, and upper >= 0 for what cannot be negative."
        )
    return torch.stack((lower, upper), -1)


def pairs_of(name: str, value: Any) -> Tensor:
    """(lower, upper) or a list of such pairs as a tensor (M, 2); None = no bound."""
    nested = isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], (list, tuple))
    pairs = list(value) if nested else [value]
    sides = [side for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2 for side in pair]
    if len(sides) != 2 * len(pairs) or not all(side is None or isinstance(side, Real) for side in sides):
        raise ValueError(f"class '{name}': give (lower, upper), numbers or null, got {value!r}.")
    rows = [[NO_BOUND[i] if side is None else float(side) for i, side in enumerate(pair)] for pair in pairs]
    return torch.tensor(rows, dtype=torch.float32)
