# SPDX-License-Identifier: Apache-2.0
"""NIfTI files as MONAI reads them, without it, and with what it leaves out: units, checksums, and types of voxels."""

from __future__ import annotations

import gzip
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor

__all__ = ["affine_in_mm", "open_nifti"]

UNITS = {"micron": 1e-3, "meter": 1e3}
"""Millimetres of the units of length that a header may name besides mm and none; ITK reads them so too."""
KINDS = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
"""What a file is by the first number of its header."""
CHUNK = 1 << 24


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
        return _with_one_pose(image)


def _with_one_pose(image: Any) -> Any:
    """MONAI's correction, which is imported only where the voxel sizes of header and affine differ."""
    count = int(image.header["dim"][0]) if "dim" in image.header else 5
    norms = np.linalg.norm(np.asarray(image.affine, dtype=float)[:count, :count], axis=0)
    zooms = np.asarray(image.header.get_zooms())[:count]
    if count >= 5 or np.allclose(zooms, np.where(norms == 0, 1.0, norms)):
        return image
    from monai.data.utils import correct_nifti_header_if_necessary

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
