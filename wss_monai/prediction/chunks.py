# SPDX-License-Identifier: Apache-2.0
"""From the classes' scores on the grid of a network to class indices on that of the image, a few classes at a time.

A volume of 500 x 500 x 500 voxels and 20 classes would take 20 GB as MONAI inverts it, all classes at once in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from wss_monai.functional.plain_tensor import plain_tensor

__all__ = ["AT_ONCE", "Inverse", "largest", "mean_of_classes"]

AT_ONCE = 2**29
"""Bytes that the classes which are inverted together may take in float64."""
Inverse = Callable[[Mapping[str, Any], Tensor], Tensor]
"""Of a preprocessed case, scores (k, *grid of the network) -> (k, *grid of the image)."""


def classes_at_once(count: int, shape: Sequence[int], at_once: int | None = None) -> int:
    """How many of the classes of a volume of a shape are inverted together."""
    room = (AT_ONCE if at_once is None else at_once) // (8 * math.prod(shape))
    return max(1, min(count, room))


def largest(scores: Tensor, inverse: Callable[[Tensor], Tensor], shape: Sequence[int]) -> MetaTensor:
    """Class of the largest score in each voxel, as ``argmax`` over all inverted classes gives it, to the last bit.

    Args:
        scores: (K, *grid of the network).
        inverse: brings some of the classes to the grid of the image.
        shape: of that grid.

    Returns:
        (1, *shape), float32.
    """
    step = classes_at_once(len(scores), shape)
    best: Tensor | None = None
    index: Any = None
    part: Any = None
    for first in range(0, len(scores), step):
        part = inverse(scores[first : first + step])
        value, found = plain_tensor(part).max(dim=0, keepdim=True)
        if best is None:
            best, index = value, found.to(torch.uint8 if len(scores) < 256 else torch.int16)
            continue
        better = value > best
        best = torch.where(better, value, best)
        index[better] = (found[better] + first).to(index.dtype)
    meta = part.meta if isinstance(part, MetaTensor) else None
    return MetaTensor(index.float(), meta=meta)


def mean_of_classes(
    parts: Sequence[tuple[Tensor, Callable[[Tensor], Tensor]]], shape: Sequence[int], entropy: bool = False
) -> tuple[MetaTensor, Tensor | None]:
    """Class of the largest mean probability in each voxel, and the entropy of the means.

    Args:
        parts: of each network the probabilities (K, *its grid), and its way to the grid of the image.
        shape: of that grid.
        entropy: whether it is wanted.

    Returns:
        (1, *shape) float32, and the entropy divided by log K, in 0..1, (*shape), or None.
    """
    count = len(parts[0][0])
    step = classes_at_once(count, shape)
    best: Tensor | None = None
    index: Any = None
    part: Any = None
    unsure = total = None
    for first in range(0, count, step):
        mean: Any = None
        for scores, inverse in parts:
            part = inverse(scores[first : first + step])
            plain = plain_tensor(part).float()
            mean = plain if mean is None else mean + plain
        mean = mean / len(parts)
        value, found = mean.max(dim=0, keepdim=True)
        if best is None:
            best, index = value, found.to(torch.int16)
        else:
            better = value > best
            best = torch.where(better, value, best)
            index[better] = (found[better] + first).to(index.dtype)
        if entropy:
            own, mass = torch.special.entr(mean.clamp_min(0)).sum(0), mean.clamp_min(0).sum(0)
            unsure = own if unsure is None else unsure + own
            total = mass if total is None else total + mass
    if unsure is not None and total is not None:  # what no network looked at sums to 0, and is background for sure
        total = total.clamp_min(1e-6)
        unsure = ((unsure / total + total.log()) / math.log(max(count, 2))).clamp(0, 1)
    meta = part.meta if isinstance(part, MetaTensor) else None
    return MetaTensor(index.float(), meta=meta), unsure
