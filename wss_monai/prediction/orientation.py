# SPDX-License-Identifier: Apache-2.0
"""Axes of a volume brought into the order and direction that a network was trained with, and back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor

from wss_monai.io.geometry import unit_axes
from wss_monai.io.grids import Grid

__all__ = ["AS_STORED", "Axes", "axes_for", "unlike"]

THICK = 2.0
"""Slices are thick where their distance is this much larger than the pixels."""
CLEARLY = 0.1
"""Other axes are taken where their mean cosine with those of training is larger by more than this."""
SLICES_COUNT = 0.25
"""Thick slices count along their axis unless other axes are nearer by more than this."""
FOREIGN = 0.75
"""Mean cosine below which nothing is sure (about 50 degrees)."""
FAR = 1.5
"""A spacing is unlike the training set's beyond its range times this, and a number of slices beyond twice it."""


@dataclass(frozen=True)
class Axes:
    """An order of the axes of a volume.

    Attributes:
        order: which stored axis becomes the first, second and third.
        flips: which of these are then turned round.
    """

    order: tuple[int, ...] = (0, 1, 2)
    flips: tuple[bool, ...] = (False, False, False)

    @property
    def same(self) -> bool:
        """Whether the volume stays as it is stored."""
        return self.order == (0, 1, 2) and not any(self.flips)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """Bring a channel-first image (C, X, Y, Z) into this order, its affine with it."""
        if self.same:
            return image
        shape = [image.shape[axis + 1] for axis in self.order]
        moved = np.zeros((4, 4))
        moved[3, 3] = 1
        for place, (axis, flip) in enumerate(zip(self.order, self.flips, strict=True)):
            moved[axis, place] = -1 if flip else 1
            moved[axis, 3] = shape[place] - 1 if flip else 0
        plain = image.as_tensor().permute(0, *(axis + 1 for axis in self.order))
        plain = plain.flip([place + 1 for place, flip in enumerate(self.flips) if flip]).contiguous()
        meta = {key: value for key, value in image.meta.items() if key not in ("affine", "spatial_shape")}
        affine = torch.as_tensor(np.asarray(image.affine, dtype=float) @ moved)
        return MetaTensor(plain, affine=affine, meta=meta | {"spatial_shape": np.array(shape)})

    def back(self, array: np.ndarray) -> np.ndarray:
        """Bring what lies on the grid of this order, (X, Y, Z), back to the stored one."""
        turned = np.flip(array, tuple(place for place, flip in enumerate(self.flips) if flip))
        return np.ascontiguousarray(turned.transpose(np.argsort(self.order)))


AS_STORED = Axes()


def axes_for(grid: Grid, geometry: Mapping[str, Any], slice_axis: int) -> tuple[Axes, str]:
    """Find the order and the directions of axes in which a volume looks to the network as those of training did.

    Of all 48 the one whose axes lie nearest to those of a training volume, by the mean of three cosines; so hearts that
    are oblique to the body, each at another angle, are told apart from transposed and mirrored ones. What is stored
    stays where it lies nearly as well, and where slices are thick they count along their axis unless that is far off.

    Args:
        grid: of the volume.
        geometry: of the training set, see ``geometry_of``.
        slice_axis: axis across the slices in training.

    Returns:
        The axes, and what to tell the user of them; empty where there is nothing to tell.
    """
    known = [np.asarray(axes, dtype=float) for axes in geometry.get("orientations") or ()]
    if not known or len(grid.shape) < 3:
        return AS_STORED, ""
    own = unit_axes(grid)
    scores = {
        axes: max(float(np.sum(own[:, axes.order] * np.where(axes.flips, -1, 1) * theirs)) / 3 for theirs in known)
        for axes in _all_axes()
    }
    best = max(scores, key=lambda axes: scores[axes])
    thick = _thick(grid.spacing) if _thick(geometry["spacing_mm"]) == slice_axis else None
    sliced = {axes: score for axes, score in scores.items() if thick is None or axes.order[slice_axis] == thick}
    if max(sliced.values()) >= scores[best] - SLICES_COUNT:
        scores = sliced
        best = max(scores, key=lambda axes: scores[axes])
    if scores.get(AS_STORED, -1.0) >= scores[best] - CLEARLY:
        return AS_STORED, ""
    codes = "".join(nib.aff2axcodes(grid.affine))
    told = f"its axes run {codes}, those of training {' or '.join(geometry['directions'])}: turned for the network"
    if scores[best] < FOREIGN:
        told += "; no training volume lies like it in the body, so look at the mask"
    return best, told


def _all_axes() -> Iterator[Axes]:
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            yield Axes(order, flips)


def unlike(grid: Grid, axes: Axes, geometry: Mapping[str, Any], slice_axis: int) -> list[str]:
    """Say in what a volume differs from all that the network was trained with.

    Args:
        grid: of the volume as stored.
        axes: in which the network sees it.
        geometry, slice_axis: of the training set.
    """
    if not geometry.get("volumes"):
        return []
    count = len(grid.shape)
    order = axes.order[:count] if count == 3 else tuple(range(count))
    spacing = [grid.spacing[axis] for axis in order]
    shape = [*(grid.shape[axis] for axis in order), 1][:3]
    ranges = geometry["spacing_range_mm"]
    found = []
    if any(not low / FAR <= own <= high * FAR for own, (low, high) in zip(spacing, ranges, strict=False)):
        found.append(
            f"its spacing is {_numbers(spacing)} mm; in training it was {_numbers(geometry['spacing_mm'])} mm (median; "
            f"{', '.join(f'{low:.3g} to {high:.3g}' for low, high in ranges)})"
        )
    low, high = geometry["slices"]
    if not low / FAR / 2 <= shape[slice_axis] <= high * FAR * 2:
        found.append(f"it has {shape[slice_axis]} slices; in training volumes had {low} to {high}")
    return found


def _thick(spacing: Sequence[float]) -> int | None:
    """The axis of thick slices, where there is one."""
    most = int(np.argmax(spacing))
    return most if spacing[most] >= THICK * sorted(spacing)[-2] else None


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
