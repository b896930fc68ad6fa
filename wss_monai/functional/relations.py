# SPDX-License-Identifier: Apache-2.0
"""Descriptors that relate each class to another one: how large, how near, how much border they share.

Each is made with ``other``, the class that all are related to: its index, or its name beside ``class_names``. They need
the probabilities of all classes, and their bounds hold where both classes are known to be there and neither is cut. The
measure of ``other`` itself says nothing.

Borders are counted in faces between neighbouring voxels. Across a face two classes share what one of them loses and the
other gains: of a hard mask 1 where one ends and the other begins, of a soft one the same in total, however wide the
transition is, and nothing where the probabilities do not change. It is half of V(a) + V(b) - V(a + b), where V is the
total variation, the sum of the absolute differences. A slanted border has more faces than it is long, up to sqrt(2)
times in 2D and sqrt(3) in 3D. An edge of the frame is no border.

Sources: as measures ours. Gupta et al., ECCV 2022, penalise the voxels that break containment or exclusion of classes;
Byrne et al., IEEE TMI 2023, state the topology of the heart's classes and of their unions by persistent homology.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wss_monai.functional.descriptor_protocol import Measure
from wss_monai.functional.moved_bounds import between, face_stretch, stretch_of, unbounded_where
from wss_monai.functional.settings import class_index
from wss_monai.functional.soft_masks import centroid_of, inside, voxel_steps

__all__ = ["RELATIONS", "CentroidDistance", "Contact", "Enclosure", "SizeRatio"]

LEAST_VOXELS = 0.5
"""A class with less than this counts as large as this where something is divided by its size."""


@dataclass(frozen=True)
class _Relation(Measure):
    """What relations share: one number a class, relative to ``other``."""

    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = False

    other: int | str
    """The class that each is related to: index, or name."""
    class_names: Sequence[str] | None = None
    """Names of all classes, background first, where ``other`` is a name."""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "other", class_index(self.other, self.class_names))
        except ValueError as error:
            raise ValueError(f"{self.name} relates each class to another one, 'other': {error}") from error
        object.__setattr__(self, "class_names", None)  # what is equal measures the same

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial) of all classes; returns (B, K, 1).

        Raises:
            ValueError: there is no class ``other``; in 3D without ``spacing``, where a length is measured.
        """
        if probs.shape[1] <= self._other:
            raise ValueError(
                f"{self.name} relates each class to class {self.other}, but there are {probs.shape[1]} classes; it "
                "needs the probabilities of all."
            )
        return self._measure(inside(probs, region), spacing).unsqueeze(-1)

    def _measure(self, probs: Tensor, spacing: Tensor | None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K)."""
        raise NotImplementedError

    @property
    def _other(self) -> int:
        return class_index(self.other, None)

    def components(self, dimensions: int) -> int:
        """M = 1."""
        return 1

    def others(self) -> tuple[int, ...]:
        """The class that each is related to."""
        return (self._other,)

    def _unless_cut(self, bounds: Tensor, cut: Tensor) -> Tensor:
        """No bounds of a class that may be cut, and none at all where ``other`` may be."""
        return unbounded_where(bounds, cut | cut[:, self._other, None])


@dataclass(frozen=True)
class SizeRatio(_Relation):
    """Size of each class divided by that of ``other``, no unit (M = 1): the same in every scanner and at every age.

    Where ``other`` has less than half a voxel, its size counts as half a voxel.
    """

    name: ClassVar[str] = "size_ratio"
    unit: ClassVar[str] = "1"

    def _measure(self, probs: Tensor, spacing: Tensor | None) -> Tensor:
        size = probs.flatten(2).sum(-1)
        return size / size[:, self._other, None].clamp(min=LEAST_VOXELS)

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Each side's own bound, at least 0.1."""
        return torch.where(bounds.isfinite(), bounds.abs(), 1.0).clamp(min=0.1)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """A ratio of sizes stays; none where either class may be cut."""
        return self._unless_cut(bounds, cut)


@dataclass(frozen=True)
class CentroidDistance(_Relation):
    """Distance of the centroid of each class from that of ``other``, in mm with ``spacing``, else in voxels (M = 1)."""

    name: ClassVar[str] = "centroid_distance"
    unit: ClassVar[str] = "mm"
    is_place: ClassVar[bool] = True

    def _measure(self, probs: Tensor, spacing: Tensor | None) -> Tensor:
        centre = centroid_of(probs)
        offset = (centre - centre[:, self._other, None]) * voxel_steps(probs, spacing, self.name).unsqueeze(1)
        return ((offset**2).sum(-1) + 1e-12).sqrt()

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Each side's own bound, at least 1 mm."""
        return torch.where(bounds.isfinite(), bounds.abs(), 1.0).clamp(min=1.0)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Between the smallest and the largest stretch of the map; none where either class may be cut."""
        stretch = stretch_of(matrix, spacing)
        return self._unless_cut(between(bounds, stretch[:, -1], stretch[:, 0]), cut)


@dataclass(frozen=True)
class Contact(_Relation):
    """Border that each class shares with ``other``, counted in faces of voxels (M = 1): 0 where they do not touch.

    In mm (3D: mm2) with ``spacing``, else in voxels.
    """

    name: ClassVar[str] = "contact"
    unit: ClassVar[str] = "mm"

    def _measure(self, probs: Tensor, spacing: Tensor | None) -> Tensor:
        return _borders(probs, self._other, voxel_steps(probs, spacing, self.name))[0]

    def units(self, dimensions: int) -> tuple[str, ...]:
        """The mm of a border in 2D, the mm2 of one in 3D."""
        return ("mm2",) if dimensions == 3 else ("mm",)

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Each side's own bound, at least a quarter of a side of the frame (3D: of a face) in voxels."""
        least = 0.25 * math.prod(shape) ** (1 - 1 / len(shape))
        return torch.where(bounds.isfinite(), bounds.abs(), least).clamp(min=least)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Between the extremes for a border counted in faces; none where either class may be cut."""
        return self._unless_cut(between(bounds, *face_stretch(matrix, spacing)), cut)


@dataclass(frozen=True)
class Enclosure(_Relation):
    """Part of each class's own border with all other classes that is with ``other``, 0 to 1 (M = 1).

    1: the class lies within ``other``. Counted in faces of voxels; 0 of a class without any border.
    """

    name: ClassVar[str] = "enclosure"
    unit: ClassVar[str] = "1"

    def _measure(self, probs: Tensor, spacing: Tensor | None) -> Tensor:
        shared, border = _borders(probs, self._other, voxel_steps(probs, spacing, self.name))
        return shared / (border + 1e-6)

    def reach(self, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """From none of the border to all of it."""
        return torch.zeros(1), torch.ones(1)

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Each side's own bound, at least 0.1."""
        return torch.where(bounds.isfinite(), bounds.abs(), 1.0).clamp(min=0.1)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """What stays if the two parts of the border stretch as differently as they can; none where either is cut."""
        least, most = face_stretch(matrix, spacing)
        odds = (most / least).to(bounds.dtype)[:, None, None]
        lower, upper = bounds.unbind(-1)
        lower = torch.where(lower.isfinite(), lower / (lower + (1 - lower) * odds), lower)
        upper = torch.where((upper > 0) & (upper < 1), upper * odds / (upper * odds + 1 - upper), upper)
        return self._unless_cut(torch.stack((lower, upper), -1), cut)


def _borders(probs: Tensor, other: int, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Border that each class shares with another one, and its whole border (B, K), for voxels of ``steps`` (B, D)."""
    shared, border = probs.new_zeros(probs.shape[:2]), probs.new_zeros(probs.shape[:2])
    for axis in range(probs.dim() - 2):
        face = steps.prod(-1, keepdim=True) / steps[:, axis, None]
        change = torch.diff(probs, dim=axis + 2)
        theirs = change[:, other, None]
        own = change.abs()
        both = own + theirs.abs() - (change + theirs).abs()
        shared = shared + face * both.flatten(2).sum(-1) / 2
        border = border + face * own.flatten(2).sum(-1)
    return shared, border


RELATIONS: tuple[type[_Relation], ...] = (SizeRatio, CentroidDistance, Contact, Enclosure)
"""All of this file; what holds for every descriptor is tested for these."""
