# SPDX-License-Identifier: Apache-2.0
"""What the grids of a set of volumes have in common: axes, spacing, number of slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import nibabel as nib
import numpy as np

from wss_monai.io.grids import Grid, read_grid

__all__ = ["MOST_READ", "geometry_of", "unit_axes"]

ALIKE = 0.95
"""Mean cosine between the axes of two volumes, from which on one of them stands for both (about 22 degrees)."""

MOST_READ = 200
"""Headers that are read; of a larger set an even choice."""


def geometry_of(cases: Sequence[Mapping[str, Any]], slice_axis: int) -> dict[str, Any]:
    """Describe the grids of the images of cases, from their headers.

    Args:
        cases: each with ``image``, a path or a list of them, of which the first is read.
        slice_axis: axis across the slices.

    Returns:
        volumes: how many were read; axes: direction letters (such as "LPS", or "oblique") -> volumes; directions: the
        same, of oblique ones the nearest; orientations: unit vectors of the axes in RAS (3, 3), a column each, of
        volumes that differ from each other; these three of 3D images;
        spacing_mm: the median along each axis; spacing_range_mm and shape_range: least and most along each axis;
        slices: least and most along ``slice_axis``. Volumes whose header cannot be read are left out; a 2D image is one
        slice.
    """
    step = max(1, -(-len(cases) // MOST_READ))
    grids: list[Grid] = []
    for case in cases[::step]:
        source = case.get("image")
        path = source if isinstance(source, str) or source is None else next(iter(source), None)
        try:
            grids.append(read_grid(str(path)))
        except ValueError:
            continue
    if not grids:
        return {"volumes": 0}
    shapes = np.array([(*grid.shape, 1)[:3] for grid in grids])
    spacings = np.array([(*grid.spacing, 1.0)[:3] for grid in grids])
    slices = shapes[:, slice_axis]
    whole = [grid for grid in grids if len(grid.shape) == 3]
    return {
        "volumes": len(grids),
        "axes": dict(Counter(grid.axes for grid in whole).most_common()),
        "directions": dict(Counter("".join(nib.aff2axcodes(grid.affine)) for grid in whole).most_common()),
        "orientations": _different([unit_axes(grid) for grid in whole]),
        "spacing_mm": [round(float(v), 6) for v in np.median(spacings, axis=0)],
        "spacing_range_mm": _ranges(spacings),
        "shape_range": _ranges(shapes),
        "slices": [int(slices.min()), int(slices.max())],
    }


def unit_axes(grid: Grid) -> np.ndarray:
    """Directions of the axes of a 3D volume in RAS (3, 3), a column each."""
    linear = grid.affine[:3, :3]
    axes: np.ndarray = linear / np.linalg.norm(linear, axis=0)
    return axes


def _different(orientations: Sequence[np.ndarray]) -> list[list[list[float]]]:
    """Those of which none is like one before."""
    found: list[np.ndarray] = []
    for own in orientations:
        if all(np.sum(own * other) / 3 < ALIKE for other in found):
            found.append(own)
    return [[[round(float(v), 4) for v in row] for row in own] for own in found]


def _ranges(values: np.ndarray) -> list[list[Any]]:
    """Least and most of each column."""
    return [
        [round(v, 6) for v in column] for column in zip(values.min(0).tolist(), values.max(0).tolist(), strict=True)
    ]
