# SPDX-License-Identifier: Apache-2.0
"""The predicted mask of one volume, and what is measured on it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.io.grids import Grid

__all__ = ["Prediction"]

PLANE = "mm2"


@dataclass
class Prediction:
    """A mask on the grid of its image.

    Attributes:
        files: of the image, one a modality.
        mask: class indices, the shape of the image, uint8 (int16 with more than 255 classes).
        affine: from voxel indices to RAS in mm (4, 4).
        class_names: background first.
        image: the first modality, the shape of the mask, float32.
        slice_axis: across the slices, of the image as stored.
        bounds: intervals of sizes that the run declared: values, unit, slices.
        warnings: in what the image is unlike those of training, and what was done about it.
        entropy: of the mean probabilities divided by that of K equal ones, 0 (sure) to 1; None where not asked for.
    """

    files: tuple[str, ...]
    mask: np.ndarray
    affine: np.ndarray
    class_names: list[str]
    image: np.ndarray
    slice_axis: int = 2
    bounds: Sequence[Mapping[str, Any]] = ()
    warnings: list[str] = field(default_factory=list)
    entropy: np.ndarray | None = None

    @property
    def grid(self) -> Grid:
        """Of mask and image."""
        return Grid(self.mask.shape, self.affine)

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each foreground class in ml; of a 2D image as if it were 1 mm thick."""
        return {row["class"]: row["ml"] for row in self.rows()}

    def rows(self) -> list[dict[str, Any]]:
        """Describe each foreground class.

        Returns:
            ``class``, ``ml``, ``voxels``, ``touches_border`` (yes or no: a voxel of it lies on the outermost layer of
            an axis with more than one voxel, so that a part may be missing), ``bounds`` (as declared for training) and
            ``inside_bounds`` (yes, no, or empty without bounds).
        """
        rows = []
        for index, name in enumerate(self.class_names[1:], start=1):
            inside = self.mask == index
            declared = [one for one in self.bounds if name in one["values"]]
            kept = [self._keeps(inside, one["values"][name], one) for one in declared]
            voxels = int(inside.sum())
            rows.append(
                {
                    "class": name,
                    "ml": round(voxels * self.grid.voxel_ml, 4),
                    "voxels": voxels,
                    "touches_border": "yes" if _touches(inside) else "no",
                    "bounds": "; ".join(_text(one["values"][name], one) for one in declared),
                    "inside_bounds": "" if not kept else "yes" if all(kept) else "no",
                }
            )
        return rows

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the mask; its ending chooses the format.

        Args:
            path: .nii, .nii.gz, or .seg.nrrd for 3D Slicer.

        Returns:
            The path.

        Raises:
            ValueError: another ending, or a file of the image.
        """
        from wss_monai.prediction.writers import write_mask

        return write_mask(self, Path(path))

    def _keeps(self, inside: np.ndarray, pair: Sequence[float | None], one: Mapping[str, Any]) -> bool:
        """Whether a class lies within an interval: in every slice that shows it, or as a whole."""
        edges = self.grid.spacing
        axis = self.slice_axis
        if one["slices"] and inside.ndim == 3:
            counts = inside.sum(axis=tuple(other for other in range(3) if other != axis))
            counts = counts[counts > 0]
            plane = float(np.prod([edge for other, edge in enumerate(edges) if other != axis]))
        else:
            counts = np.array([inside.sum()])
            plane = float(np.prod(edges[:2]))
        size = {PLANE: plane, "ml": self.grid.voxel_ml, "voxel": 1.0}[one["unit"]]
        low, high = (float("-inf") if pair[0] is None else pair[0]), (float("inf") if pair[1] is None else pair[1])
        return bool(((counts * size >= low) & (counts * size <= high)).all()) and (len(counts) > 0 or low <= 0)


def _touches(inside: np.ndarray) -> bool:
    return any(
        bool(inside.take(place, axis).any())
        for axis in range(inside.ndim)
        if inside.shape[axis] > 1
        for place in (0, -1)
    )


def _text(pair: Sequence[float | None], one: Mapping[str, Any]) -> str:
    """An interval in words."""
    low, high = pair
    what = f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
    return f"{what} {one['unit']}{' a slice' if one['slices'] else ''}"
