# SPDX-License-Identifier: Apache-2.0
"""Descriptors: differentiable measures of a soft segmentation.

A descriptor is a small frozen object with ``name``, ``unit``, ``nonnegative``, ``additive`` (its measure of a volume is
the sum over the slices) and three methods:

- ``__call__(probs, *, spacing=None, region=None)``: measures of ``probs`` (B, K, *spatial) as (B, K, M);
- ``scale(bounds, shape)``: what a violation of ``bounds`` (B, K, M, 2) is divided by before the penalty;
- ``move(bounds, matrix, cut, spacing)``: the bounds after a geometric change of the tensor.

``spacing`` (B, D) is the voxel size in mm; ``region`` (B, 1 or K, *spatial) restricts the measure to its voxels that
are neither 0 nor 255 (unknown). Voxel coordinates are 0-based indices in tensor axis order. Everything is computed in
float32 or the input's wider type.

Sources: size, Kervadec et al., Medical Image Analysis 54 (2019), eq. 2-4; centroid, spread (average distance to the
centroid) and length, Kervadec et al., MIDL 2021; compactness, the isoperimetric quotient of length and size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.wide import wide

EPS = 1e-10


class Descriptor(Protocol):
    """What the constraint losses and the transforms that make bounds ask of a descriptor."""

    name: ClassVar[str]
    unit: ClassVar[str]
    nonnegative: ClassVar[bool]
    additive: ClassVar[bool]

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, M)."""

    def components(self, dimensions: int) -> int:
        """M, the number of values that describe one class in so many spatial dimensions."""

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What a violation of each side of ``bounds`` (B, K, M, 2) is divided by, for a domain of that shape."""

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Bounds (B, K, M, 2) after the map ``matrix`` (B, D+1, D+1); ``spacing`` is (before, after)."""


@dataclass(frozen=True)
class Size:
    """Soft size: the sum of the class's probability, in voxels (M = 1)."""

    name: ClassVar[str] = "size"
    unit: ClassVar[str] = "voxel"
    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = True

    floor: float = 0.05
    """Least scale, as a fraction of the voxels of the domain that the bound is about."""

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, 1) in voxels."""
        return _inside(probs, region).flatten(2).sum(-1, keepdim=True)

    def components(self, dimensions: int) -> int:
        """M = 1."""
        return 1

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Each side's own bound, but at least ``floor`` of the domain."""
        least = self.floor * math.prod(shape)
        return torch.where(bounds.isfinite(), bounds.abs(), least).clamp(min=least)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Sizes grow with the absolute determinant; of a class that may be cut only the upper side survives."""
        moved = bounds * _linear(matrix).det().abs().to(bounds.dtype).view(-1, 1, 1, 1)
        return _unbounded_where(moved, cut, keep_upper=True)


@dataclass(frozen=True)
class Centroid:
    """Soft centroid in voxel indices, tensor axis order (M = D), from one-dimensional marginals."""

    name: ClassVar[str] = "centroid"
    unit: ClassVar[str] = "voxel"
    nonnegative: ClassVar[bool] = False
    additive: ClassVar[bool] = False

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, D) in voxel indices (0 for a class without any mass)."""
        return _centroid(_inside(probs, region))

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
        linear = _linear(matrix).double()[:, None]  # (B, 1, D_out, D_in)
        linear = torch.where(linear.abs() < 1e-9, 0.0, linear)
        lower, upper = wide[..., 0].unsqueeze(-2), wide[..., 1].unsqueeze(-2)  # (B, K, 1, D_in)

        def hull(where_positive: Tensor, where_negative: Tensor) -> Tensor:
            terms = linear * torch.where(linear > 0, where_positive, where_negative)
            return torch.where(linear == 0, 0.0, terms).sum(-1) + matrix[:, None, :-1, -1].double()

        moved = torch.stack((hull(lower, upper), hull(upper, lower)), -1).to(bounds.dtype)
        return _unbounded_where(moved, cut)


class _OneNumber:
    """What descriptors with M = 1 in a unit of their own share."""

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
    unit: ClassVar[str] = "mm"
    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = False

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, 1).

        Raises:
            ValueError: in 3D without ``spacing``.
        """
        probs = _inside(probs, region)
        steps = _steps(probs, spacing, self.name)
        centre = _centroid(probs)
        square: Tensor = torch.zeros((), dtype=probs.dtype, device=probs.device)
        for axis, coordinate in enumerate(_coordinates(probs)):
            view = [1, 1] + [1] * (probs.dim() - 2)
            view[axis + 2] = -1
            offset = coordinate.view(view) - _as_image(centre[..., axis], probs)
            square = square + (offset * _as_image(steps[:, axis : axis + 1], probs)) ** 2
        distance = (square + 1e-12).sqrt()
        return ((probs * distance).flatten(2).sum(-1) / (probs.flatten(2).sum(-1) + EPS)).unsqueeze(-1)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Between the smallest and the largest stretch of the map; none for a class that may be cut."""
        stretch = _stretch(matrix, spacing)
        return _unbounded_where(_between(bounds, stretch[:, -1], stretch[:, 0]), cut)


@dataclass(frozen=True)
class Length(_OneNumber):
    """Length of the soft boundary, the total variation sum |grad p| (M = 1); in 3D the surface area.

    In mm (3D: mm2) with ``spacing``, else in voxels. The gradient is taken in the middle of each cell of 2^D voxel
    centres, so that mirrored and turned masks measure the same; a hard edge measures up to about 8 % more than
    its own length, depending on its direction. An edge of the frame is no boundary.
    """

    name: ClassVar[str] = "length"
    unit: ClassVar[str] = "mm"
    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = False

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, 1).

        Raises:
            ValueError: in 3D without ``spacing``.
        """
        probs = _inside(probs, region)
        steps = _steps(probs, spacing, self.name)
        return _length(probs, steps).unsqueeze(-1)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Between the smallest and the largest stretch of a line (3D: of an area); none where it may be cut."""
        return _unbounded_where(_between(bounds, *_boundary_stretch(matrix, spacing)), cut)


@dataclass(frozen=True)
class Compactness(_OneNumber):
    """length^(D/(D-1)) / size, no unit (M = 1): about 4 pi for a disc, 6 sqrt(pi) for a ball, more for the rest."""

    name: ClassVar[str] = "compactness"
    unit: ClassVar[str] = "1"
    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = False

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, 1).

        Raises:
            ValueError: in 3D without ``spacing``.
        """
        probs = _inside(probs, region)
        steps = _steps(probs, spacing, self.name)
        dimensions = probs.dim() - 2
        size = probs.flatten(2).sum(-1) * steps.prod(-1, keepdim=True)
        return (_length(probs, steps) ** (dimensions / (dimensions - 1)) / (size + 1e-6)).unsqueeze(-1)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Between the extremes that the stretch of boundary and size allows; none where it may be cut."""
        dimensions = matrix.shape[-1] - 1
        power = dimensions / (dimensions - 1)
        growth = _stretch(matrix, spacing).prod(-1)
        least, most = _boundary_stretch(matrix, spacing)
        return _unbounded_where(_between(bounds, least**power / growth, most**power / growth), cut)


def in_region(region: Tensor) -> Tensor:
    """Where a region, of any shape, is neither 0 nor 255 (unknown)."""
    return (region > 0) & (region != UNLABELLED)


def _inside(probs: Tensor, region: Tensor | None) -> Tensor:
    """Probabilities in float32 or wider, set to zero outside the region and where it is unknown."""
    probs = wide(probs)
    return probs if region is None else probs * in_region(region)


def _coordinates(probs: Tensor) -> list[Tensor]:
    """Voxel indices along each spatial axis."""
    return [torch.arange(n, dtype=probs.dtype, device=probs.device) for n in probs.shape[2:]]


def _centroid(probs: Tensor) -> Tensor:
    """Centre of mass (B, K, D) from the marginals, in voxel indices."""
    axes = range(2, probs.dim())
    marginals = [probs.sum([a for a in axes if a != axis]) if probs.dim() > 3 else probs for axis in axes]
    mass = marginals[0].sum(-1) + EPS
    return torch.stack([(m * x).sum(-1) / mass for m, x in zip(marginals, _coordinates(probs), strict=True)], -1)


def _as_image(values: Tensor, like: Tensor) -> Tensor:
    """Values (B, K) with singleton spatial axes."""
    return values.reshape(*values.shape, *[1] * (like.dim() - 2))


def _steps(probs: Tensor, spacing: Tensor | None, name: str) -> Tensor:
    """Voxel size (B, D); ones where none is needed."""
    dimensions = probs.dim() - 2
    if spacing is None:
        if dimensions > 2:
            raise ValueError(f"{name} in 3D needs spacing (B, D) in mm: voxels need not be cubes.")
        return probs.new_ones(probs.shape[0], dimensions)
    if spacing.shape != (probs.shape[0], dimensions):
        raise ValueError(f"spacing must be (B, D) = {(probs.shape[0], dimensions)}, got {tuple(spacing.shape)}.")
    return spacing.to(probs)


def _length(probs: Tensor, steps: Tensor) -> Tensor:
    """Total variation (B, K) for voxels of that size."""
    dimensions = probs.dim() - 2
    padded = F.pad(probs, [1] * (2 * dimensions), mode="replicate")
    square = torch.zeros((), dtype=probs.dtype, device=probs.device)
    for axis in range(dimensions):
        gradient = torch.diff(padded, dim=axis + 2)
        for other in range(dimensions):
            if other != axis:
                gradient = _midpoints(gradient, other + 2)
        square = square + (gradient / _as_image(steps[:, axis : axis + 1], probs)) ** 2
    total = (square + 1e-12).sqrt() - 1e-6
    for _ in range(dimensions):  # the outermost cells reach half a voxel beyond the frame's voxels: count them half
        total = total.sum(2) - (total.select(2, 0) + total.select(2, -1)) / 2
    return total.clamp(min=0) * steps.prod(-1, keepdim=True)


def _midpoints(values: Tensor, axis: int) -> Tensor:
    """Means of neighbours along an axis."""
    count = values.shape[axis] - 1
    return (values.narrow(axis, 0, count) + values.narrow(axis, 1, count)) / 2


def _linear(matrix: Tensor) -> Tensor:
    return matrix[:, :-1, :-1]


def _stretch(matrix: Tensor, spacing: tuple[Tensor, Tensor] | None) -> Tensor:
    """Singular values (B, D), largest first, of the map in mm where spacing is known, else in voxels."""
    linear = _linear(matrix).double()
    if spacing is not None:
        before, after = (s.to(linear) for s in spacing)
        linear = after.unsqueeze(-1) * linear / before.unsqueeze(-2)
    return torch.linalg.svdvals(linear)


def _boundary_stretch(matrix: Tensor, spacing: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Least and greatest factor by which the measure of a (D-1)-dimensional boundary changes."""
    stretch = _stretch(matrix, spacing)
    return stretch[:, 1:].prod(-1), stretch[:, :-1].prod(-1)


def _between(bounds: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """Lower sides times ``least``, upper sides times ``most`` (B,), for measures >= 0."""
    return bounds * torch.stack((least, most), -1).to(bounds.dtype)[:, None, None]


def _unbounded_where(bounds: Tensor, cut: Tensor, *, keep_upper: bool = False) -> Tensor:
    """Drop the bounds of the classes ``cut`` (B, K), or their lower side only."""
    free = torch.stack((cut, torch.zeros_like(cut) if keep_upper else cut), -1).unsqueeze(-2)
    nothing = bounds.new_tensor([-math.inf, math.inf])
    return torch.where(free, nothing, bounds)
