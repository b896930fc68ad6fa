# SPDX-License-Identifier: Apache-2.0
"""Axes of a volume brought into the order and direction that a network was trained with, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from wss_monai.io.grids import Grid

__all__ = ["AS_STORED", "Axes", "axes_for", "unlike"]

THICK = 2.0
"""Slices are thick where their distance is this much larger than the pixels."""
TILTED = 0.75
"""Cosine between an axis and the body's up to which an oblique volume is turned by its nearest directions."""
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
    """Find the order of axes in which a volume looks to the network as those of training did.

    Volumes whose directions (such as "LPS") occur in the training set stay as they are. Others are turned to its most
    frequent directions. Where the training set holds oblique volumes of several directions, or the volume itself is
    far from the body's axes, directions say nothing: then thick slices alone tell which axis counts them.

    Args:
        grid: of the volume.
        geometry: of the training set, see ``geometry_of``.
        slice_axis: axis across the slices in training.

    Returns:
        The axes, and what to tell the user of them; empty where there is nothing to tell.
    """
    known: Mapping[str, int] = geometry.get("directions") or {}
    if not known or len(grid.shape) < 3:
        return AS_STORED, ""
    own = "".join(nib.aff2axcodes(grid.affine))
    if own in known:
        return AS_STORED, ""
    cosines = np.abs(grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)).max(axis=0)
    tilted = grid.axes == "oblique" or "oblique" in geometry["axes"]
    if tilted and (len(known) > 1 or cosines.min() < TILTED):
        return _by_slices(grid, geometry, slice_axis)
    wanted = max(known, key=lambda code: known[code])
    turn = ornt_transform(io_orientation(grid.affine), axcodes2ornt(tuple(wanted)))
    order = tuple(int(axis) for axis in np.argsort(turn[:, 0]))
    flips = tuple(bool(turn[axis, 1] < 0) for axis in order)
    told = f"its axes run {own}, those of training {' or '.join(known)}: turned to {wanted} for the network"
    return Axes(order, flips), told


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


def _by_slices(grid: Grid, geometry: Mapping[str, Any], slice_axis: int) -> tuple[Axes, str]:
    """Move the axis of thick slices to its place; the other two keep their order."""
    own, theirs = _thick(grid.spacing), _thick(geometry["spacing_mm"])
    if own is None or theirs != slice_axis or own == slice_axis:
        return AS_STORED, ""
    order = [axis for axis in range(3) if axis != own]
    order.insert(slice_axis, own)
    told = (
        f"its slices lie along axis {own}, those of training along axis {slice_axis}: reordered for the network; it is "
        "oblique, so that nothing tells whether the slices are mirrored: look at the mask"
    )
    return Axes(tuple(order)), told


def _thick(spacing: Sequence[float]) -> int | None:
    """The axis of thick slices, where there is one."""
    most = int(np.argmax(spacing))
    return most if spacing[most] >= THICK * sorted(spacing)[-2] else None


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
