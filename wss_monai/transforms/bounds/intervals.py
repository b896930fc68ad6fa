# SPDX-License-Identifier: Apache-2.0
"""What the transforms that make bounds share: intervals, tags, slices and voxel sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from wss_monai.functional.intervals import NO_BOUND, check_interval, pairs_of
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.io.grids import spacing_of

__all__ = ["NO_BOUND", "as_slices", "check_interval", "pairs_of", "spacing_of", "tags_of"]


def as_slices(index: Tensor, slice_axis: int | None) -> tuple[Tensor, Tensor]:
    """Index map (S, *slice) and spacing (S, D) of the slices of a channel-first map; S = 1 for the whole tensor."""
    spacing = torch.tensor(spacing_of(index))
    plain = plain_tensor(index)[0]
    if slice_axis is None:
        return plain.unsqueeze(0), spacing.unsqueeze(0)
    slices = plain.movedim(slice_axis, 0)
    kept = [axis for axis in range(plain.dim()) if axis != slice_axis]
    return slices, spacing[kept].repeat(len(slices), 1)


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
