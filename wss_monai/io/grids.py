# SPDX-License-Identifier: Apache-2.0
"""Where the voxels of a volume lie: shape and affine, read off a header alone, and when two grids are one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike

from wss_monai.io.faults import FormatFault
from wss_monai.io.itk_headers import check_header
from wss_monai.io.nifti_reader import affine_in_mm, open_nifti
from wss_monai.io.volumes import affine_of, quiet_itk, reason_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Grid", "read_grid", "same_grid", "spacing_of", "voxel_edges"]

ALIGNED = 0.94
"""Cosine of the largest angle between an axis and the body's at which the axis is named after it."""
TOLERANCE = 0.05
"""Grids are one where no corner lies further off than this part of a voxel's shortest edge."""
SHEAR = 1e-3
"""Axes are not perpendicular where a voxel holds less than its edges' product by more than this part."""


def same_grid(affine: ArrayLike, other: ArrayLike, shape: Sequence[int]) -> bool:
    """Whether two affines put the corners of a volume at the same places, within a twentieth of a voxel's edge.

    Entries of the matrices are not compared: a tenth of a degree moves the far corner of a large volume by more than a
    voxel, and a tolerance relative to an origin of a metre hides a whole slice.

    Args:
        affine, other: (4, 4), from voxel indices to mm.
        shape: voxels along each of at most 3 axes, of both.
    """
    a, b = np.asarray(affine, dtype=float), np.asarray(other, dtype=float)
    edges = [(-0.5, n - 0.5) for n in shape] + [(0.0,)] * (3 - len(shape))
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*edges)])
    moved = np.linalg.norm((corners @ (a - b).T)[:, :3], axis=1).max()
    return bool(moved <= TOLERANCE * np.linalg.norm(b[:3, : len(shape)], axis=0).min())


def voxel_edges(affine: ArrayLike | None, axes: int) -> list[float]:
    """Edge lengths of a voxel in mm, whose product is its volume.

    Of axes that are not perpendicular (a tilted gantry) each but the first counts by what it adds at a right angle to
    those before it, so that the product is the determinant and the third is the distance between the slices.

    Args:
        affine: (n + 1, n + 1), from voxel indices to mm; None: it is not known, all edges are 1.
        axes: how many of its columns are axes of the volume: 2 of a 4 x 4 matrix for a plane in space.
    """
    if affine is None:
        return [1.0] * axes
    matrix = np.asarray(affine, dtype=float)
    linear = matrix[: len(matrix) - 1, : len(matrix) - 1]
    edges = np.sqrt(np.sum(linear * linear, axis=0))[:axes]
    upright = np.abs(np.diag(np.linalg.qr(matrix[:-1, :axes], mode="r")))
    sheared = upright.prod() < (1 - SHEAR) * np.prod(edges)
    return [float(edge) for edge in (upright if sheared else edges)]


def spacing_of(image: Tensor) -> list[float]:
    """Edge lengths in mm of the voxels of a channel-first tensor; ones where it carries no affine."""
    from monai.data import MetaTensor

    return voxel_edges(image.affine if isinstance(image, MetaTensor) else None, image.dim() - 1)


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a file lie.

    Attributes:
        shape: voxels along each of 2 or 3 axes.
        affine: (4, 4), from voxel indices to RAS in mm.
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, ...]:
        """Edge lengths of a voxel in mm."""
        return tuple(voxel_edges(self.affine, len(self.shape)))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml (of a 2D file: as if it were 1 mm thick)."""
        return float(np.prod(self.spacing)) / 1000

    @property
    def axes(self) -> str:
        """Directions of the axes, such as "RAS" or "PSR"; "oblique" where they are more than about 20 degrees off."""
        cosines = np.abs(self.affine[:3, : len(self.shape)] / np.array(self.spacing))
        if (cosines.max(axis=0) < ALIGNED).any():
            return "oblique"
        return "".join(str(code) for code in nib.aff2axcodes(self.affine))[: len(self.shape)]

    @property
    def sheared(self) -> bool:
        """Whether its axes are not perpendicular to each other."""
        edges = np.linalg.norm(self.affine[:3, : len(self.shape)], axis=0)
        return bool(np.prod(self.spacing) < (1 - SHEAR) * np.prod(edges))

    @property
    def mirrored(self) -> bool:
        """Whether the axes form a left-handed system in RAS."""
        return bool(np.linalg.det(self.affine[:3, :3]) < 0)


def read_grid(path: str) -> Grid:
    """Read shape and affine from a header alone.

    Raises:
        ValueError: the header cannot be read, or has not 2 or 3 axes.
    """
    try:
        if path.lower().endswith((".nii", ".nii.gz")):
            image: Any = open_nifti(path)
            shape, affine = tuple(image.shape), affine_in_mm(image)
        else:
            shape, affine = _itk_grid(Path(path))
    except Exception as error:  # readers of broken files fail in every way there is
        raise FormatFault("", f"cannot be read: {reason_of(error)}", kind="unreadable") from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or 0 in shape:
        raise FormatFault(
            "",
            f"has shape {shape}, expected 2 or 3 non-empty axes",
            "split a 4D file into one 3D file a frame",
            kind="unreadable",
        )
    return Grid(tuple(int(n) for n in shape), affine)


def _itk_grid(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    import SimpleITK as sitk

    check_header(path)
    reader: Any = sitk.ImageFileReader()
    with quiet_itk():
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)) if path.is_dir() else (str(path),)
        if not files:
            raise ValueError("a folder without a DICOM file")
        reader.SetFileName(files[0])
        reader.ReadImageInformation()
        shape, affine = tuple(reader.GetSize()), affine_of(reader)
        if len(files) > 1:
            reader.SetFileName(files[-1])
            reader.ReadImageInformation()
            affine[:3, 2] = (affine_of(reader)[:3, 3] - affine[:3, 3]) / (len(files) - 1)
            shape = (*shape[:2], len(files))
    return shape, affine
