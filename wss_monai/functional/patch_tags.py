# SPDX-License-Identifier: Apache-2.0
"""Tags of a part of a volume: what still holds there of the tags of the volume and of its slices."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["longest_absence", "tags_of_part", "tags_of_slices", "tags_of_volume"]

PRESENT, ABSENT, UNKNOWN = 1, 0, -1


def tags_of_slices(rows: Tensor, whole_plane: bool = True) -> Tensor:
    """Tags (K,) of several slices together.

    Args:
        rows: (S, K) of the slices, 1 present, 0 absent, -1 unknown.
        whole_plane: the slices are seen whole. Of slices that are cut, "absent" alone is known.

    Returns:
        1 where any slice shows the class, 0 where all are known to be without it, else -1; of the type of ``rows``.
    """
    absent = (rows == ABSENT).all(0)
    present = (rows == PRESENT).any(0) & whole_plane
    return torch.full_like(rows[0], UNKNOWN).masked_fill(absent, ABSENT).masked_fill(present, PRESENT)


def tags_of_volume(tags: Tensor | None, rows: Tensor) -> Tensor:
    """Tags (K,) of a volume: the given ones, and where they are unknown those of all its slices ``rows`` (S, K)."""
    read = tags_of_slices(rows)
    return read if tags is None else torch.where(tags == UNKNOWN, read.to(tags), tags)


def tags_of_part(
    tags: Tensor, weak_label: Tensor | None = None, rows: Tensor | None = None, whole_plane: bool = False
) -> Tensor:
    """Tags (K,) of a part of a volume.

    Args:
        tags: (K,) of the volume, 1 present, 0 absent, -1 unknown.
        weak_label: the part's class indices, of any shape; "present" of the volume holds where the class is drawn.
        rows: (S, K), tags of the slices that the part holds; they tell what the other two leave unknown.
        whole_plane: the part holds these slices whole.

    Returns:
        Tags of the type of ``tags``; what is absent from the volume is absent from its part.
    """
    drawn = torch.zeros_like(tags, dtype=torch.bool)
    if weak_label is not None:
        inside = weak_label.unique().long()
        drawn[inside[inside < len(tags)]] = True
    known = tags.masked_fill((tags == PRESENT) & ~drawn, UNKNOWN)
    if rows is None:
        return known
    return torch.where(known == UNKNOWN, tags_of_slices(rows, whole_plane).to(known), known)


def longest_absence(rows: Tensor) -> Tensor:
    """Greatest number (K,) of slices in a row that are known to be without a class; ``rows`` (S, K) as above."""
    absent = rows == ABSENT
    places = torch.arange(1, len(rows) + 1, device=rows.device)[:, None]
    before = torch.where(absent, 0, places).cummax(0).values  # the last slice that is not known to be without it
    return (places - before).amax(0)
