# SPDX-License-Identifier: Apache-2.0
"""Hard labels from two soft predictions: their mixture, without the classes that cannot be there."""

from __future__ import annotations

import torch
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.hard_classes import hard_classes

__all__ = ["mixed_classes", "possible_classes"]


def mixed_classes(
    first: Tensor,
    second: Tensor,
    share: Tensor | float,
    shift: Tensor | None = None,
    possible: Tensor | None = None,
) -> Tensor:
    """Most probable class of share x first + (1 - share) x second; the lowest of several.

    Source: dynamically mixed pseudo-labels, Luo et al., MICCAI 2022, eq. 3, whose two predictions are those of two
    decoders.

    Args:
        first, second: probabilities (B, K, *spatial).
        share: of the first, from 0 to 1; a number or a scalar tensor.
        shift: (K,) is added to the log-probabilities of the mixture.
        possible: boolean (B, K, *spatial), axes of extent 1 included; no other class is chosen.

    Returns:
        (B, *spatial), int64.
    """
    mixture = torch.lerp(second.to(first), first, torch.as_tensor(share, dtype=first.dtype, device=first.device))
    if shift is not None:
        mixture = mixture * _broad(shift.to(mixture).exp()[None], mixture)
    if possible is not None:
        mixture = torch.where(possible, mixture, -1.0)
    return hard_classes(mixture)


def possible_classes(tags: Tensor | None, boxes: Tensor | None, like: Tensor) -> Tensor | None:
    """Where each class can be at all, for `mixed_classes`: not where a tag says absent, and not outside of its boxes.

    Background can be anywhere. A class without any box in a sample is left to its tag, and voxels that are unknown
    (255) in the map of boxes are left open.

    Args:
        tags: (B, K) in {1 present, 0 absent, -1 unknown}.
        boxes: (B, K, *spatial), numbered from 1, 0 outside.
        like: a tensor (B, K, *spatial).

    Returns:
        Boolean (B, K, *spatial), axes of extent 1 included; None: everything is possible.
    """
    possible = None
    if tags is not None:
        possible = _broad(tags != 0, like)
    if boxes is not None:
        boxed = (boxes > 0) & (boxes != UNLABELLED)
        inside = (boxes > 0) | ~_broad(boxed.flatten(2).any(-1), like)
        possible = inside if possible is None else possible & inside
    if possible is not None:
        background = torch.arange(possible.shape[1], device=possible.device) == 0
        possible = possible | _broad(background[None], like)
    return possible


def _broad(values: Tensor, like: Tensor) -> Tensor:
    """Values (B or 1, K) with singleton spatial axes."""
    return values.reshape(*values.shape, *[1] * (like.dim() - 2))
