# SPDX-License-Identifier: Apache-2.0
"""How much the area of a class changes from slice to slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wss_monai.functional.descriptor_protocol import Measure
from wss_monai.functional.moved_bounds import between, linear_part, unbounded_where
from wss_monai.functional.soft_masks import EPS, inside, voxel_steps

__all__ = ["AreaChange", "mean_area", "shows"]


@dataclass(frozen=True)
class AreaChange(Measure):
    """Absolute difference of the soft areas of neighbouring slices, divided by their distance: mm2 per mm (3D).

    A value for each two neighbours between the first and the last slice that show the class, which are those where a
    voxel of it has a probability above one half; NaN elsewhere, since an organ, or what is drawn of it, may end
    abruptly. For batches of slices there is ``wss_monai.losses.SmoothAreasLoss``. In a patch that is not whole in the
    slice plane the area is not that of the organ.
    """

    name: ClassVar[str] = "area_change"
    unit: ClassVar[str] = "mm"
    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = False
    one_bound: ClassVar[bool] = True

    slice_axis: int = 2
    """Spatial axis across the slices."""
    relative: bool = False
    """Divide by the mean area of the class too (a constant for the gradient): a share per mm, unit 1/mm."""

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial) in 3D; returns (B, K, slices - 1), or one NaN for a single slice.

        Raises:
            ValueError: not 3D, or without ``spacing``.
        """
        if probs.dim() != 5:
            raise ValueError(f"{self.name} compares the slices of a volume, got probabilities {tuple(probs.shape)}.")
        probs = inside(probs, region)
        steps = voxel_steps(probs, spacing, self.name)
        plane = [axis for axis in range(3) if axis != self.slice_axis]
        area = probs.sum([axis + 2 for axis in plane]) * steps[:, plane].prod(-1).view(-1, 1, 1)
        shown = shows(probs.movedim(self.slice_axis + 2, 2))
        if area.shape[-1] < 2:
            return area * math.nan
        change = (area[..., 1:] - area[..., :-1]).abs() / steps[:, self.slice_axis].view(-1, 1, 1)
        if self.relative:
            change = change / mean_area(area).unsqueeze(-1)
        begun = shown.cumsum(-1) > 0
        to_come = shown.flip(-1).cumsum(-1).flip(-1) > 0
        return torch.where(begun[..., :-1] & to_come[..., 1:], change, math.nan)

    def components(self, dimensions: int) -> int:
        """M = 1 of the bounds: one pair for all neighbours of a class."""
        return 1

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Each side's own bound."""
        return torch.where(bounds.isfinite(), bounds.abs(), 1.0).clamp(min=1e-3)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Areas grow by the map's factor in the slice plane, distances by that across it; none for a cut class.

        Of slices (maps in 2D) the distance stays. A map that mixes the slice axis with others leaves no bound.
        """
        linear = linear_part(matrix).double()
        if spacing is not None:
            before, after = (s.to(linear) for s in spacing)
            linear = after.unsqueeze(-1) * linear / before.unsqueeze(-2)
        growth = linear.det().abs()
        if linear.shape[-1] == 3:
            across = linear[:, self.slice_axis, self.slice_axis].abs()
            mixed = (
                torch.cat((linear[:, self.slice_axis], linear[:, :, self.slice_axis]), -1).abs().sum(-1) - 2 * across
            )
            tilted = mixed > 1e-6 * across
            cut = cut | tilted[:, None].to(cut.device)
            growth, across = growth / across.clamp(min=EPS), across.clamp(min=EPS)
        else:
            across = torch.ones_like(growth)
        factor = 1 / across if self.relative else growth / across
        return unbounded_where(between(bounds, factor, factor), cut)

    def units(self, dimensions: int) -> tuple[str, ...]:
        """mm, which is mm2 per mm; of shares 1/mm."""
        return ("1/mm" if self.relative else "mm",)

    def steps_along(self) -> int | None:
        """The slice axis."""
        return self.slice_axis

    def shown(self, spacing: Sequence[float]) -> tuple[float, str]:
        """As they are, mm written as what it is: mm2 per mm."""
        return 1.0, "1/mm" if self.relative else "mm2/mm"


def shows(probs: Tensor) -> Tensor:
    """Where slices (B, K, S, *plane) show a class, as a mask (B, K, S): a voxel of it above one half."""
    return probs.detach().flatten(3).amax(-1) > 0.5


def mean_area(area: Tensor) -> Tensor:
    """Mean over the slices of areas (..., S), each weighted by itself so that empty slices do not count; a constant."""
    fixed = area.detach()
    return fixed.square().sum(-1).add(EPS) / fixed.sum(-1).add(EPS)
