# SPDX-License-Identifier: Apache-2.0
"""What the transforms that make bounds share: intervals, tags, slices and voxel sizes."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from wss_monai.functional.descriptors import Descriptor
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.io.grids import spacing_of

NO_BOUND = (-math.inf, math.inf)


def as_slices(index: Tensor, slice_axis: int | None) -> tuple[Tensor, Tensor]:
    """Index map (S, *slice) and spacing (S, D) of the slices of a channel-first map; S = 1 for the whole tensor."""
    spacing = torch.tensor(spacing_of(index))
    plain = plain_tensor(index)[0]
    if slice_axis is None:
        return plain.unsqueeze(0), spacing.unsqueeze(0)
    slices = plain.movedim(slice_axis, 0)
    kept = [axis for axis in range(plain.dim()) if axis != slice_axis]
    return slices, spacing[kept].repeat(len(slices), 1)


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


def tags_of(tags: Tensor | None, count: int, classes: int) -> Tensor:
    """Tags (S, K); unknown where there are none."""
    if tags is None:
        return torch.full((count, classes), -1)
    tags = torch.as_tensor(tags)
    if tags.shape not in ((count, classes), (classes,) if count == 1 else ()):
        raise ValueError(
            f"tags must be ({count}, {classes}) for {count} slices or the volume and {classes} classes, got "
            f"{tuple(tags.shape)}; set tags_key to 'slice_tags' for bounds on slices, to 'tags' for bounds on volumes."
        )
    return tags.reshape(count, classes)


def pairs_of(name: str, value: Any) -> Tensor:
    """(lower, upper) or a list of such pairs as a tensor (M, 2); None = no bound."""
    nested = isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], (list, tuple))
    pairs = list(value) if nested else [value]
    sides = [side for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2 for side in pair]
    if len(sides) != 2 * len(pairs) or not all(side is None or isinstance(side, Real) for side in sides):
        raise ValueError(f"class '{name}': give (lower, upper), numbers or null, got {value!r}.")
    rows = [[NO_BOUND[i] if side is None else float(side) for i, side in enumerate(pair)] for pair in pairs]
    return torch.tensor(rows, dtype=torch.float32)
