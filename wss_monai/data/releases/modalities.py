# SPDX-License-Identifier: Apache-2.0
"""The modalities of a case on one grid: left alone, resampled to the first one's and said so, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.optimize import linear_sum_assignment

from wss_monai.data.releases.volumes import load_volume
from wss_monai.io.grids import same_grid

__all__ = ["Difference", "check_label_grid", "grid_difference", "on_one_grid"]

DIRECTION_DEGREES = 2.0
"""Axes that differ by at most this angle count as parallel. Order and sign of stored axes do not count."""
OVERLAP = 0.5
"""Smallest part of the first modality's box that another one must cover."""
SAMPLES = 40
"""Points an axis at which coverage is looked up: an error of at most 1/40 for each face."""


@dataclass(frozen=True)
class Difference:
    """How two volumes lie to each other by their headers.

    Attributes:
        degrees: largest angle between an axis of one and the nearest axis of the other, 0 to 90.
        centre_mm: distance between the centres of their boxes.
        overlap: part of the first one's box that the other covers, 0 to 1.
    """

    degrees: float
    centre_mm: float
    overlap: float

    @property
    def same_frame(self) -> bool:
        """Whether both lie in one physical frame: parallel axes, and enough of the first one's box covered."""
        return self.degrees <= DIRECTION_DEGREES and self.overlap >= OVERLAP

    def __str__(self) -> str:
        return (
            f"axes {self.degrees:.1f} degrees apart, centres {self.centre_mm:.1f} mm apart, {self.overlap:.0%} of the "
            "first one's box covered"
        )


def grid_difference(first: nib.Nifti1Image, other: nib.Nifti1Image) -> Difference:
    """Measure how two volumes (X, Y, Z) lie to each other; headers only, no voxel is read."""
    a, b = np.asarray(first.affine, float), np.asarray(other.affine, float)
    cosines = np.abs(_directions(a).T @ _directions(b))
    pairs = linear_sum_assignment(-cosines)
    degrees = float(np.degrees(np.arccos(np.clip(cosines[pairs], 0, 1))).max())
    apart = _centre(a, first.shape) - _centre(b, other.shape)
    steps = [(np.arange(SAMPLES) + 0.5) / SAMPLES * n - 0.5 for n in first.shape]
    points = np.stack([*np.meshgrid(*steps, indexing="ij"), np.ones((SAMPLES,) * 3)]).reshape(4, -1)
    there = (np.linalg.inv(b) @ a @ points)[:3]
    size = np.array(other.shape)[:, None]
    inside = ((there >= -0.5 - 1e-3) & (there <= size - 0.5 + 1e-3)).all(axis=0)
    return Difference(degrees, float(np.linalg.norm(apart)), float(inside.mean()))


def on_one_grid(files: Mapping[str, Path]) -> tuple[dict[str, nib.Nifti1Image], list[str]]:
    """Bring the modalities of a case to the grid of the first one.

    Modalities of one shape and affine stay as they are. One on another grid is resampled linearly (SimpleITK; its
    smallest value where it does not reach) if its header puts it into the same physical frame: axes parallel within 2
    degrees, and at least half of the first one's box covered. This trusts the headers: whether the patient moved
    between the scans cannot be seen in them. Nothing smooths a modality that is finer than the first one.

    Args:
        files: NIfTI file of each modality by its name; the first one gives the grid.

    Returns:
        The volumes (X, Y, Z) by name, those that were left alone with their file's name; and a note for each that was
        resampled.

    Raises:
        ValueError: a file cannot be read, has not three axes, holds values that are not finite, or lies in another
            frame; the message names both files and says by how much they differ.
    """
    images: dict[str, nib.Nifti1Image] = {}
    notes: list[str] = []
    top = None
    for name, file in files.items():
        image, values = _load(file)
        if top is None or (image.shape == top[1].shape and same_grid(image.affine, top[1].affine, image.shape)):
            images[name] = image
        else:
            first, grid = files[top[0]], top[1]
            difference = grid_difference(grid, image)
            if not difference.same_frame:
                raise ValueError(
                    f"{file.name} ({name}) does not lie in the frame of {first.name} ({top[0]}): {difference}; "
                    f"resampling needs at most {DIRECTION_DEGREES:g} degrees and at least {OVERLAP:.0%}. Register "
                    "one onto the other, or leave the case out"
                )
            images[name] = _resample(image, values, grid)
            notes.append(
                f"{file.name} ({name}) resampled linearly from {_grid_text(image)} to the grid of {first.name} "
                f"({top[0]}), {_grid_text(grid)}; {difference}"
            )
        top = top or (name, image)
    return images, notes


def check_label_grid(label: nib.Nifti1Image, file: Path, first: nib.Nifti1Image, first_file: Path) -> None:
    """Refuse a label that does not lie on the first modality's grid; a label is never resampled.

    Raises:
        ValueError: other axes, shape or place; names both files and what differs.
    """
    if len(label.shape) != 3:
        raise ValueError(f"{file.name} has the shape {label.shape}; a label has three axes")
    if label.shape == first.shape and same_grid(label.affine, first.affine, first.shape):
        return
    raise ValueError(
        f"{file.name} is not on the grid of {first_file.name}: {_grid_text(label)} and {_grid_text(first)}; "
        f"{grid_difference(first, label)}. A label is never resampled: name first the modality that it was drawn on, "
        "or draw it on this one"
    )


def _load(file: Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    image, values = load_volume(file)
    if image.ndim != 3:
        raise ValueError(f"{file.name} has the shape {image.shape}; a modality has three axes, one file each")
    if 0 in image.shape or abs(np.linalg.det(image.affine)) < 1e-12 or not np.isfinite(image.affine).all():
        raise ValueError(f"{file.name} has no usable geometry: shape {image.shape}, affine {image.affine.tolist()}")
    if not np.isfinite(values).all():
        raise ValueError(f"{file.name} holds intensities that are not finite (NaN or infinite)")
    return image, values


def _resample(image: nib.Nifti1Image, values: np.ndarray, grid: nib.Nifti1Image) -> nib.Nifti1Image:
    """Resample in index coordinates, so that any affine will do; float32."""
    import SimpleITK as sitk

    move = np.linalg.inv(image.affine) @ grid.affine
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(move[:3, :3].ravel().tolist())
    transform.SetTranslation(move[:3, 3].tolist())
    source = sitk.GetImageFromArray(np.ascontiguousarray(values.T.astype(np.float32)))
    outside = float(values.min())
    moved = sitk.Resample(
        source, grid.shape, transform, sitk.sitkLinear, (0.0,) * 3, (1.0,) * 3, np.eye(3).ravel().tolist(), outside
    )
    header = grid.header.copy()
    header.set_data_dtype(np.float32)
    return nib.Nifti1Image(sitk.GetArrayFromImage(moved).T, grid.affine, header)


def _directions(affine: np.ndarray) -> np.ndarray:
    columns = affine[:3, :3]
    return np.asarray(columns / np.linalg.norm(columns, axis=0))


def _centre(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3])


def _grid_text(image: nib.Nifti1Image) -> str:
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    return f"{' x '.join(map(str, image.shape))} voxels of {' x '.join(f'{v:.4g}' for v in spacing)} mm"
