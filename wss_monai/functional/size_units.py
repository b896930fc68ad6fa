# SPDX-License-Identifier: Apache-2.0
"""Units of size: areas of slices in mm2, volumes in ml."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["size_unit", "voxels_per"]


def size_unit(dimensions: int) -> tuple[str, float]:
    """The physical unit of size in 2D (mm2) and 3D (ml), and how many mm2 or mm3 it is."""
    return ("mm2", 1.0) if dimensions == 2 else ("ml", 1000.0)


def voxels_per(unit: str, spacing: Sequence[float]) -> float | None:
    """Voxels in one unit of size: "voxel", of areas "mm2", of volumes "ml"; None for a unit that does not fit."""
    physical, mm = size_unit(len(spacing))
    return {"voxel": 1.0, physical: mm / math.prod(spacing)}.get(unit)
