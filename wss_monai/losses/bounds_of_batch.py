# SPDX-License-Identifier: Apache-2.0
"""Bounds on sizes for a batch, in a training loop of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wss_monai.functional.descriptors import Size
from wss_monai.functional.intervals import NO_BOUND, check_interval, pairs_of
from wss_monai.functional.size_units import size_unit, voxels_per

__all__ = ["drawn_classes", "size_bounds"]


def size_bounds(
    values: Mapping[str, Sequence[Any]],
    class_names: Sequence[str],
    present: Tensor,
    *,
    unit: str = "voxel",
    spacing: Sequence[float] | Tensor | None = None,
) -> Tensor:
    """Bounds (B, K, 1, 2) of a batch, in voxels, for ``ConstraintLoss(Size(), ...)``.

    The upper side of an interval holds in every sample, the lower one in those of which it is known that the class is
    there. Bounds of images that were zoomed, or of which a part was cut away, are for the caller to widen: see
    ``Size().move``.

    Args:
        values: class name -> (lower, upper), None = no bound on that side.
        class_names: names of all K classes, background first.
        present: (B, K); boolean: whether the class is known to be there (``drawn_classes``), or tags: 1 present,
            0 absent (size 0 at most), -1 unknown.
        unit: "voxel"; "mm2" for images, "ml" for volumes.
        spacing: voxel size in mm, of all samples (D,) or of each (B, D); not needed with "voxel".

    Raises:
        ValueError: an unknown class or unit, a missing spacing, an interval that cannot hold, or shapes that do not
            fit.
    """
    names = list(class_names)
    if unknown := [name for name in values if name not in names]:
        raise ValueError(f"values name the classes {unknown}, which are not among class_names {names}.")
    if present.dim() != 2 or present.shape[1] != len(names):
        raise ValueError(f"present must be (B, {len(names)}) for class_names {names}, got {tuple(present.shape)}.")
    factor = _voxels(unit, spacing, len(present)).to(present.device)
    bounds = torch.tensor(NO_BOUND, device=present.device).repeat(*present.shape, 1, 1)
    for name, value in values.items():
        pair = check_interval(pairs_of(name, value), Size(), f"class '{name}'").to(present.device)
        bounds[:, names.index(name)] = pair * factor[:, None, None]
    there = present if present.dtype == torch.bool else present == 1
    bounds[..., 0] = torch.where(there[..., None], bounds[..., 0], NO_BOUND[0])
    if present.dtype != torch.bool:
        nothing = bounds.new_tensor((NO_BOUND[0], 0.0))
        bounds = torch.where((present == 0)[..., None, None], nothing, bounds)
    return bounds


def _voxels(unit: str, spacing: Sequence[float] | Tensor | None, count: int) -> Tensor:
    """Voxels in one unit (B,)."""
    if unit == "voxel":
        return torch.ones(count)
    if spacing is None:
        raise ValueError(f"bounds in {unit} need the spacing in mm, one number an axis.")
    rows = torch.as_tensor(spacing, dtype=torch.float64).cpu()
    if rows.dim() not in (1, 2) or (rows.dim() == 2 and len(rows) != count) or not bool((rows > 0).all()):
        raise ValueError(f"spacing must be (D,) or ({count}, D), in mm and above 0, got {rows.tolist()}.")
    fits = size_unit(rows.shape[-1])[0]
    if unit != fits:
        raise ValueError(f"unit must be 'voxel' or, in {rows.shape[-1]}D, '{fits}', got '{unit}'.")
    each = [voxels_per(unit, row) or 0.0 for row in rows.reshape(-1, rows.shape[-1]).tolist()]
    return torch.tensor(each).expand(count)


def drawn_classes(index: Tensor, num_classes: int) -> Tensor:
    """Which classes are drawn in each sample, boolean (B, K), of index maps (B, 1, *spatial).

    Values outside of 0..K-1, such as 255 for unlabelled voxels, are no class.
    """
    flat = index.flatten(1)
    return torch.stack([(flat == k).any(1) for k in range(num_classes)], 1)
