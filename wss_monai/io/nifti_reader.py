# SPDX-License-Identifier: Apache-2.0
"""NIfTI files as MONAI reads them, with what it leaves out: the unit of length, the checksum, and types of voxels."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any

import nibabel as nib
import numpy as np
from monai.data.image_reader import NibabelReader
from monai.data.utils import correct_nifti_header_if_necessary
from monai.utils import ensure_tuple
from nibabel.imageglobals import LoggingOutputSuppressor

__all__ = ["NiftiReader", "affine_in_mm", "open_nifti"]

UNITS = {"micron": 1e-3, "meter": 1e3}
"""Millimetres of the units of length that a header may name besides mm and none; ITK reads them so too."""
KINDS = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
"""What a file is by the first number of its header."""
CHUNK = 1 << 24


class NiftiReader(NibabelReader):
    """MONAI's reader of NIfTI files; the affine is in mm whatever unit the header names, and files are whole.

    Raises:
        ValueError: voxels that are complex numbers or colours.
        EOFError, OSError: a compressed file that is cut, or whose checksum does not hold.
    """

    def read(self, data: Sequence[str | PathLike[str]] | str | PathLike[str], **kwargs: Any) -> Any:
        """Read one file or several (which ``get_data`` stacks as channels)."""
        self.filenames = ensure_tuple(data)
        images = [open_nifti(fspath(name), whole=True) for name in self.filenames]
        return images if len(images) > 1 else images[0]

    def _get_affine(self, img: Any) -> np.ndarray:
        return affine_in_mm(img)


def open_nifti(path: str, whole: bool = False) -> Any:
    """Open a NIfTI file with the pose that this package goes by.

    Where sform and qform disagree, MONAI's rule holds (`correct_nifti_header_if_necessary`), so that inference by MONAI
    alone sees the same: the sform is taken, unless its voxel size is not that of ``pixdim`` and the qform's is.

    Args:
        path: .nii or .nii.gz.
        whole: read a compressed file to its end, where its checksum is; otherwise only the header is read.

    Returns:
        A nibabel image.

    Raises:
        ValueError: voxels that are complex numbers or colours.
        EOFError, OSError: a compressed file that is cut, or whose checksum does not hold.
    """
    with LoggingOutputSuppressor():
        image: Any = _unpacked(path) if whole and path.lower().endswith(".gz") else nib.load(path)
        kind = image.get_data_dtype()
        if kind.names:
            raise ValueError("its voxels are colours (RGB); save one channel, or a grey image")
        if kind.kind == "c":
            raise ValueError("its voxels are complex numbers; save the magnitude, or another real part")
        return correct_nifti_header_if_necessary(image)


def affine_in_mm(image: Any) -> np.ndarray:
    """Affine from voxel indices to RAS in mm (4, 4) of a nibabel image, whatever unit its header names."""
    affine = np.array(image.affine, dtype=float)
    try:
        unit = image.header.get_xyzt_units()[0]
    except (AttributeError, KeyError):  # no NIfTI, or a code without a meaning
        return affine
    affine[:3] *= UNITS.get(unit, 1.0)
    return affine


def _unpacked(path: str) -> Any:
    """A compressed NIfTI file, read to the end of the stream."""
    parts = []
    with gzip.open(path, "rb") as stream:
        while part := stream.read(CHUNK):
            parts.append(part)
    data = b"".join(parts)
    for order in ("little", "big"):
        if kind := KINDS.get(int.from_bytes(data[:4], order)):
            return kind.from_bytes(data)
    return nib.load(path)  # says what it is
