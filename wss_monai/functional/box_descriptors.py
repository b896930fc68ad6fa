# SPDX-License-Identifier: Apache-2.0
"""Descriptors of boxes: every line of a tight box crosses the organ, and outside of the box there is none of it.

``region`` is a map of boxes (B, K, *spatial), or (B, 1, *spatial) for the same boxes of all classes: 1..n inside the
boxes of a class, 0 outside, 255 unknown.

Source: Kervadec et al., Bounding boxes for weakly supervised segmentation, MIDL 2020, section 2.2; the tightness prior
is that of Lempitsky et al., ICCV 2009. Strips divided by their lines, so that a strip at the end of a box counts by the
lines that it has, are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.descriptors import Measure, Size
from wss_monai.functional.moved_bounds import unbounded_where
from wss_monai.functional.soft_masks import inside


@dataclass(frozen=True)
class BoxStrips(Measure):
    """Class probability in the strips of each box, in voxels a line.

    Each box is cut along each axis into strips of ``width`` lines (in 3D: planes), from its low end; the last strip has
    the lines that are left, one at least. The measure of a strip is the sum of the class's probability in it, divided
    by its lines. Where a box is tight each of its lines crosses the organ, so that the lower bound is 1.
    """

    name: ClassVar[str] = "box_strips"
    unit: ClassVar[str] = "voxel a line"
    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = False
    one_bound: ClassVar[bool] = True

    width: int = 5
    """Lines of a strip."""

    def __post_init__(self) -> None:
        if isinstance(self.width, bool) or not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f"width must be a whole number of lines, 1 or more, got {self.width!r}.")

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial) in the boxes ``region``.

        Returns:
            (B, K, M), for each instance and axis its strips; M is what the sample with most strips needs, NaN where
            there is no strip.

        Raises:
            ValueError: no region, or one of another shape.
        """
        region = _boxes(self.name, probs, region)
        probs = inside(probs, None)
        axes = range(2, probs.dim())
        found = []
        for number in range(1, int(torch.where(region == UNLABELLED, 0, region).max()) + 1):
            here = region == number
            part = probs * here
            for axis in axes:
                others = [other for other in axes if other != axis]
                found.append(self._strips(part.sum(others), here.any(others)))
        nothing = probs.flatten(2).sum(-1, keepdim=True) * 0 + math.nan  # has a gradient, which is 0
        return torch.cat(found, -1) if found else nothing

    def _strips(self, lines: Tensor, there: Tensor) -> Tensor:
        """Means (B, K, strips) of the sums of lines (B, K, n), for the lines that are there (B, K or 1, n)."""
        low = there.to(torch.uint8).argmax(-1, keepdim=True)
        position = torch.arange(there.shape[-1], device=there.device) - low
        strips = int(torch.where(there, position, -1).max()) // self.width + 1
        index = torch.where(there, torch.div(position, self.width, rounding_mode="floor"), strips)
        index = index.expand(lines.shape)  # what is in no strip is added up behind the last one
        nothing = lines.new_zeros(*lines.shape[:2], strips + 1)
        count = nothing.scatter_add(-1, index, torch.ones_like(lines))[..., :-1]
        total = nothing.scatter_add(-1, index, lines)[..., :-1]
        return torch.where(count > 0, total / count.clamp(min=1), math.nan)

    def components(self, dimensions: int) -> int:
        """M = 1 of the bounds: one pair for all strips of a class."""
        return 1

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """1: the bound of the tightness itself."""
        return torch.ones_like(bounds)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Bounds survive where boxes stay boxes: flips, quarter turns, shifts and scaling along the axes.

        Lines that become longer keep their lower side (a line crosses the organ, however thin), lines that become
        shorter lower it by as much. None for other maps, and for a class that may be cut.
        """
        size = matrix[:, :-1, :-1].double().abs()
        used = size > 1e-6 * size.amax((1, 2), keepdim=True)
        aligned = ((used.sum(1) == 1) & (used.sum(2) == 1)).all(1)
        stretch = size.amax(2)
        lines = stretch.prod(1, keepdim=True) / stretch
        factors = torch.stack((lines.amin(1).clamp(max=1), lines.amax(1)), -1)
        moved = bounds * factors.to(bounds)[:, None, None]
        return unbounded_where(moved, cut | ~aligned[:, None].to(cut.device))


@dataclass(frozen=True)
class OutsideSize(Size):
    """Soft size of what lies outside of the boxes, where that is known: an upper bound of 0 is the emptiness prior."""

    name: ClassVar[str] = "outside_size"
    counts_voxels: ClassVar[bool] = False  # of what is not of the class

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial) where ``region`` is 0; returns (B, K, 1) in voxels.

        Raises:
            ValueError: no region, or one of another shape.
        """
        return super().__call__(probs, region=_boxes(self.name, probs, region) == 0)

    def shown(self, spacing: Sequence[float]) -> tuple[float, str]:
        """In voxels: how many of them are wrong."""
        return 1.0, self.unit


def _boxes(name: str, probs: Tensor, region: Tensor | None) -> Tensor:
    """The map of boxes, if it is one for these probabilities."""
    if region is None:
        raise ValueError(f"{name} needs a region: the boxes (B, K, *spatial); set region_key to their key.")
    fits = region.dim() == probs.dim() and region.shape[1] in (1, probs.shape[1])
    if not fits or region.shape[0] != probs.shape[0] or region.shape[2:] != probs.shape[2:]:
        raise ValueError(
            f"region must be boxes (B, K, *spatial) or (B, 1, *spatial) for probabilities {tuple(probs.shape)}, got "
            f"{tuple(region.shape)}."
        )
    return region
