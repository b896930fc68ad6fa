# SPDX-License-Identifier: Apache-2.0
"""Writing NIfTI files, each whole or not at all; folders are made where needed."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from wss_monai.io.atomic_files import replacing

__all__ = ["save_image", "write_like", "write_volume"]


def write_volume(array: np.ndarray, affine: np.ndarray, target: Path, *, scanner: bool = True) -> str:
    """Write a volume; give its path in the data set: folder/name.

    Args:
        array: (X, Y, Z), in the type that the file is to have.
        affine: voxel to RAS+ mm (4, 4).
        target: the file.
        scanner: say in the header that the affine is the pose in a scanner, as sform and as qform (code 1).
    """
    picture = nib.Nifti1Image(array, affine)
    picture.header.set_xyzt_units("mm", "sec" if scanner else None)
    if scanner:
        picture.set_sform(affine, code=1)
        picture.set_qform(affine, code=1)
    return save_image(picture, target)


def write_like(array: np.ndarray, like: nib.Nifti1Image, target: Path) -> str:
    """Write the values (X, Y, Z) of an array, unscaled, with the header of an image; give folder/name."""
    header = like.header.copy()
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(1, 0)
    return save_image(nib.Nifti1Image(array, like.affine, header), target)


def save_image(picture: nib.Nifti1Image, target: Path) -> str:
    """Write an image as it is; give folder/name.

    Raises:
        OSError: it cannot be written; names the file, of which a former one is whole.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        nib.save(picture, temporary)
    return f"{target.parent.name}/{target.name}"
