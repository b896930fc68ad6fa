# SPDX-License-Identifier: Apache-2.0
"""Descriptors: differentiable measures of a soft segmentation.

A descriptor is a small frozen object with ``name``, ``unit``, ``nonnegative``, ``additive`` (its measure of a volume is
the sum over the slices) and three methods:

- ``__call__(probs, *, spacing=None, region=None)``: measures of ``probs`` (B, K, *spatial) as (B, K, M);
- ``scale(bounds, shape)``: what a violation of ``bounds`` (B, K, M, 2) is divided by before the penalty;
- ``move(bounds, matrix, cut, spacing)``: the bounds after a geometric change of the tensor.

That is the protocol ``Descriptor``. What else may be asked of a descriptor (units of its bounds, what absence means,
whether it is a place) has a default, see ``Measure``, so that a descriptor need not have it: ``completed(descriptor)``
has all. Nothing outside asks for a descriptor's name but messages.

``spacing`` (B, D) is the voxel size in mm; ``region`` (B, 1 or K, *spatial) restricts the measure to its voxels that
are neither 0 nor 255 (unknown). Voxel coordinates are 0-based indices in tensor axis order. Everything is computed in
float32 or the input's wider type.

Sources: size, Kervadec et al., Medical Image Analysis 54 (2019), eq. 2-4; centroid, spread (average distance to the
centroid) and length, Kervadec et al., MIDL 2021; compactness, the isoperimetric quotient of length and size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wss_monai.functional.boundary_length import length_of
from wss_monai.functional.descriptor_protocol import Descriptor, Measure, completed
from wss_monai.functional.moved_bounds import between, boundary_stretch, linear_part, stretch_of, unbounded_where
from wss_monai.functional.pieces import StrayShare
from wss_monai.functional.size_units import size_unit
from wss_monai.functional.soft_masks import EPS, as_image, centroid_of, coordinates, inside, voxel_steps

__all__ = [
    "Centroid",
    "Compactness",
    "Descriptor",
    "Length",
    "Measure",
    "PerimeterToArea",
    "Size",
    "Spread",
    "StrayShare",
    "completed",
]


@dataclass(frozen=True)
class Size(Measure):
    """Soft size: the sum of the class's probability, in voxels (M = 1)."""

    name: ClassVar[str] = "size"
    unit: ClassVar[str] = "voxel"
    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = True
    counts_voxels: ClassVar[bool] = True
    when_absent: ClassVar[tuple[float, float]] = (-math.inf, 0.0)

    floor: float = 0.05
    """Least scale, as a fraction of the voxels of the domain that the bound is about."""

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, 1) in voxels."""
        return inside(probs, region).flatten(2).sum(-1, keepdim=True)

    def components(self, dimensions: int) -> int:
        """M = 1."""
        return 1

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Each side's own bound, but at least ``floor`` of the domain."""
        least = self.floor * math.prod(shape)
        return torch.where(bounds.isfinite(), bounds.abs(), least).clamp(min=least)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Sizes grow with the absolute determinant; of a class that may be cut only the upper side survives."""
        moved = bounds * linear_part(matrix).det().abs().to(bounds.dtype).view(-1, 1, 1, 1)
        return unbounded_where(moved, cut, keep_upper=True)

    def units(self, dimensions: int) -> tuple[str, ...]:
        """Voxels, and mm2 in 2D or ml in 3D."""
        return "voxel", size_unit(dimensions)[0]

    def to_voxels(self, pairs: Tensor, unit: str, spacing: Sequence[float], shape: Sequence[int]) -> Tensor:
        """Pairs (M, 2) times the voxels in a unit; see ``Measure``."""
        pairs = super().to_voxels(pairs, unit, spacing, shape)
        return pairs if unit == "voxel" else pairs * (size_unit(len(spacing))[1] / math.prod(spacing))

    def reach(self, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """From nothing to every voxel."""
        return torch.zeros(1), torch.tensor([float(math.prod(shape))])

    def shown(self, spacing: Sequence[float]) -> tuple[float, str]:
        """In mm2 or ml, which a reader can judge."""
        unit, mm = size_unit(len(spacing))
        return math.prod(spacing) / mm, unit


@dataclass(frozen=True)
class Centroid(Measure):
    """Soft centroid in voxel indices, tensor axis order (M = D), from one-dimensional marginals."""

    name: ClassVar[str] = "centroid"
    unit: ClassVar[str] = "voxel"
    nonnegative: ClassVar[bool] = False
    additive: ClassVar[bool] = False
    is_place: ClassVar[bool] = True

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, D) in voxel indices (0 for a class without any mass)."""
        return centroid_of(inside(probs, region))

    def components(self, dimensions: int) -> int:
        """M = D."""
        return dimensions

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A quarter of a finite interval's width (at least 2 % of the extent), else a quarter of the extent."""
        extent = torch.as_tensor(shape, dtype=bounds.dtype, device=bounds.device)
        width = bounds[..., 1] - bounds[..., 0]
        scale = torch.where(width.isfinite(), (width / 4).maximum(0.02 * extent), extent / 4)
        return scale.unsqueeze(-1).expand_as(bounds)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The axis-aligned hull of the moved box; none for a class that may be cut."""
        wide = bounds.double()
        linear = linear_part(matrix).double()[:, None]  # (B, 1, D_out, D_in)
        linear = torch.where(linear.abs() < 1e-9, 0.0, linear)
        lower, upper = wide[..., 0].unsqueeze(-2), wide[..., 1].unsqueeze(-2)  # (B, K, 1, D_in)

        def hull(where_positive: Tensor, where_negative: Tensor) -> Tensor:
            terms = linear * torch.where(linear > 0, where_positive, where_negative)
            return torch.where(linear == 0, 0.0, terms).sum(-1) + matrix[:, None, :-1, -1].double()

        moved = torch.stack((hull(lower, upper), hull(upper, lower)), -1).to(bounds.dtype)
        return unbounded_where(moved, cut)

    def units(self, dimensions: int) -> tuple[str, ...]:
        """Voxels, or mm from the image's centre."""
        return "voxel", "mm"

    def to_voxels(self, pairs: Tensor, unit: str, spacing: Sequence[float], shape: Sequence[int]) -> Tensor:
        """Voxel indices (D, 2) of distances from the centre; see ``Measure``."""
        pairs = super().to_voxels(pairs, unit, spacing, shape)
        if unit == "voxel":
            return pairs
        centre = torch.tensor([(n - 1) / 2 for n in shape]).unsqueeze(-1)
        return centre + pairs / torch.tensor(spacing).unsqueeze(-1)

    def reach(self, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """From the first voxel of each axis to the last."""
        return torch.zeros(len(shape)), torch.tensor(shape) - 1.0


class _OneNumber(Measure):
    """What descriptors with M = 1 in a unit of their own share: the size of a voxel counts."""

    unit: ClassVar[str] = "mm"
    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = False

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, 1).

        Raises:
            ValueError: in 3D without ``spacing``.
        """
        probs = inside(probs, region)
        return self._measure(probs, voxel_steps(probs, spacing, self.name)).unsqueeze(-1)

    def _measure(self, probs: Tensor, steps: Tensor) -> Tensor:
        """Measure ``probs`` (B, K, *spatial), with voxels of ``steps`` (B, D); returns (B, K)."""
        raise NotImplementedError

    def components(self, dimensions: int) -> int:
        """M = 1."""
        return 1

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Each side's own bound, at least 1 in the measure's unit."""
        return torch.where(bounds.isfinite(), bounds.abs(), 1.0).clamp(min=1.0)


@dataclass(frozen=True)
class Spread(_OneNumber):
    """Mean distance to the soft centroid, in mm with ``spacing``, else in voxels (M = 1)."""

    name: ClassVar[str] = "spread"

    def _measure(self, probs: Tensor, steps: Tensor) -> Tensor:
        centre = centroid_of(probs)
        square: Tensor = torch.zeros((), dtype=probs.dtype, device=probs.device)
        for axis, coordinate in enumerate(coordinates(probs)):
            view = [1, 1] + [1] * (probs.dim() - 2)
            view[axis + 2] = -1
            offset = coordinate.view(view) - as_image(centre[..., axis], probs)
            square = square + (offset * as_image(steps[:, axis : axis + 1], probs)) ** 2
        distance = (square + 1e-12).sqrt()
        return (probs * distance).flatten(2).sum(-1) / (probs.flatten(2).sum(-1) + EPS)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Between the smallest and the largest stretch of the map; none for a class that may be cut."""
        stretch = stretch_of(matrix, spacing)
        return unbounded_where(between(bounds, stretch[:, -1], stretch[:, 0]), cut)


@dataclass(frozen=True)
class Length(_OneNumber):
    """Length of the soft boundary, the total variation sum |grad p| (M = 1); in 3D the surface area.

    In mm (3D: mm2) with ``spacing``, else in voxels. The gradient is taken in the middle of each cell of 2^D voxel
    centres, so that mirrored and turned masks measure the same; a hard edge measures up to about 8 % more than
    its own length, depending on its direction. An edge of the frame is no boundary.
    """

    name: ClassVar[str] = "length"

    def _measure(self, probs: Tensor, steps: Tensor) -> Tensor:
        return length_of(probs, steps)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Between the smallest and the largest stretch of a line (3D: of an area); none where it may be cut."""
        return unbounded_where(between(bounds, *boundary_stretch(matrix, spacing)), cut)

    def units(self, dimensions: int) -> tuple[str, ...]:
        """The mm of a boundary in 2D, the mm2 of one in 3D."""
        return ("mm2",) if dimensions == 3 else ("mm",)


@dataclass(frozen=True)
class Compactness(_OneNumber):
    """length^(D/(D-1)) / size, no unit (M = 1): about 4 pi for a disc, 6 sqrt(pi) for a ball, more for the rest."""

    name: ClassVar[str] = "compactness"
    unit: ClassVar[str] = "1"

    def _measure(self, probs: Tensor, steps: Tensor) -> Tensor:
        dimensions = probs.dim() - 2
        size = probs.flatten(2).sum(-1) * steps.prod(-1, keepdim=True)
        return length_of(probs, steps) ** (dimensions / (dimensions - 1)) / (size + 1e-6)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Between the extremes that the stretch of boundary and size allows; none where it may be cut."""
        dimensions = matrix.shape[-1] - 1
        power = dimensions / (dimensions - 1)
        growth = stretch_of(matrix, spacing).prod(-1)
        least, most = boundary_stretch(matrix, spacing)
        return unbounded_where(between(bounds, least**power / growth, most**power / growth), cut)


@dataclass(frozen=True)
class PerimeterToArea(_OneNumber):
    """length / size in 1/mm (M = 1), in 3D surface area / volume: how thin or ragged something is.

    About 2 / r for a disc of radius r, 3 / r for a ball, 2 / w for a long band or a ring of width w. Without
    ``spacing`` in 1/voxel.
    """

    name: ClassVar[str] = "perimeter_to_area"
    unit: ClassVar[str] = "1/mm"

    def _measure(self, probs: Tensor, steps: Tensor) -> Tensor:
        size = probs.flatten(2).sum(-1) * steps.prod(-1, keepdim=True)
        return length_of(probs, steps) / (size + 1e-6)

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Each side's own bound, at least 0.1 / mm."""
        return torch.where(bounds.isfinite(), bounds.abs(), 1.0).clamp(min=0.1)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Between the extremes that the stretch of boundary and size allows; none where it may be cut."""
        growth = stretch_of(matrix, spacing).prod(-1)
        least, most = boundary_stretch(matrix, spacing)
        return unbounded_where(between(bounds, least / growth, most / growth), cut)


DESCRIPTORS: tuple[type[Measure], ...] = (
    *(Size, Centroid, Spread, Length, Compactness, PerimeterToArea),
    StrayShare,
)
"""Those that measure each class by itself, of this file and of ``pieces``; what holds for every descriptor is tested
for these, and for ``relations.RELATIONS``."""
