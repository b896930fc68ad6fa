# SPDX-License-Identifier: Apache-2.0
"""The volumes of the ACDC release: loading and checking frames, masks and scribbles, and writing them."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from wss_monai.functional import UNLABELLED
from wss_monai.io.atomic_files import replacing
from wss_monai.io.grids import same_grid
from wss_monai.io.nifti_files import save_image

__all__ = ["as_values", "copy_image", "load_frame", "load_scribble", "load_volume"]

CHUNK = 2**24
SCRIBBLE_UNLABELLED = (4, UNLABELLED)
"""Values that mean unlabelled in the scribbles in circulation; the files written here hold 255."""
IN_PLANE_MM, SLICE_MM = (0.2, 5.0), (1.0, 30.0)
"""Spacings outside these ranges, wide around the release's 0.7 to 1.9 and 5 to 10 mm, are taken for a broken header."""
SCRIBBLE_AGREEMENT = 0.9
"""Share of scribble voxels that must agree with the mask where the scribble's header has another pose."""


def load_frame(folder: Path, name: str, mask_needed: bool) -> tuple[nib.Nifti1Image, np.ndarray, np.ndarray | None]:
    """Load and check one frame of a patient.

    Args:
        folder: the patient's folder.
        name: patientXXX_frameYY.
        mask_needed: whether a missing mask is an error.

    Returns:
        The image, its array (X, Y, Z), and its mask (X, Y, Z) as uint8, None where there is none.

    Raises:
        ValueError: a file is missing, unreadable, or off: shape, spacing, affine or values (NaN, colours).
    """
    file = _find(folder, name)
    if file is None:
        raise ValueError(f"{name}.nii.gz is missing")
    image, array = load_volume(file)
    if image.ndim != 3:
        raise ValueError(f"{file.name} has the shape {image.shape}; one frame has three axes")
    zooms = np.asarray(image.header.get_zooms(), dtype=float)
    limits = (IN_PLANE_MM, IN_PLANE_MM, SLICE_MM)
    if not all(low <= zoom <= high for zoom, (low, high) in zip(zooms, limits, strict=True)):
        raise ValueError(f"{file.name} has the spacing {zooms.round(4).tolist()} mm, which no heart was scanned with")
    if not np.isfinite(array).all():
        raise ValueError(f"{file.name} holds voxels that are no finite numbers (NaN or infinite)")
    gt = _find(folder, f"{name}_gt")
    if gt is None:
        if mask_needed:
            raise ValueError(f"{name}_gt.nii.gz is missing")
        return image, array, None
    mask, values = load_volume(gt)
    if mask.shape != image.shape:
        raise ValueError(f"{gt.name} has the shape {mask.shape}, its image {image.shape}")
    if not same_grid(mask.affine, image.affine, image.shape):
        raise ValueError(f"{gt.name} has another affine than its image")
    return image, array, as_values(values, gt, range(4))


def load_scribble(
    file: Path, name: str, image: nib.Nifti1Image, label: np.ndarray | None, notes: list[tuple[str, str]]
) -> np.ndarray:
    """Load and check a scribble.

    Published scribbles carry the spacing, but not the scanner's pose. Such a one is taken voxel by voxel where it
    agrees with the mask, which is noted, and refused otherwise.

    Args:
        file: the scribble.
        name: the case, for the notes.
        image: its image.
        label: its mask (X, Y, Z), None where there is none.
        notes: (case, what was changed) is added here.

    Returns:
        (X, Y, Z) as uint8, with 255 for unlabelled.

    Raises:
        ValueError: the file is unreadable, empty, or does not fit the image.
    """
    scribble, values = load_volume(file)
    if scribble.shape != image.shape:
        raise ValueError(f"{file.name} has the shape {scribble.shape}, its image {image.shape}")
    if not np.allclose(scribble.header.get_zooms(), image.header.get_zooms(), rtol=1e-3):
        raise ValueError(f"{file.name} has the spacing {scribble.header.get_zooms()}, not its image's")
    drawn = as_values(values, file, (*range(4), *SCRIBBLE_UNLABELLED))
    drawn = np.where(np.isin(drawn, SCRIBBLE_UNLABELLED), np.uint8(UNLABELLED), drawn)
    known = drawn != UNLABELLED
    if not known.any():
        raise ValueError(f"{file.name} is empty: every voxel is unlabelled")
    if not same_grid(scribble.affine, image.affine, image.shape):
        agreement = 0.0 if label is None else float((drawn == label)[known].mean())
        if agreement < SCRIBBLE_AGREEMENT:
            raise ValueError(f"{file.name} has another affine than its image and fits its mask in {agreement:.0%} only")
        notes.append((name, f"scribble's header has another pose; voxels kept ({agreement:.0%} agree with the mask)"))
    return drawn


def load_volume(file: Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    """Load a NIfTI volume and its stored values.

    Raises:
        ValueError: it cannot be read, or its voxels are colours or complex numbers.
    """
    try:
        image = nib.Nifti1Image.from_filename(file)
        array = np.asanyarray(image.dataobj)
        if file.suffix == ".gz":  # the checksum is at the end, and nothing has read that far
            with gzip.open(file) as stream:
                while stream.read(CHUNK):
                    pass
    except MemoryError as error:
        shape = " x ".join(map(str, image.shape))
        raise ValueError(f"{file.name} cannot be read: its header claims {shape} voxels, too many to hold") from error
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise ValueError(f"{file.name} cannot be read: {error}") from error
    if array.dtype.names or array.dtype.kind == "c":
        kind = "colours (RGB)" if array.dtype.names else "complex numbers"
        raise ValueError(f"{file.name} cannot be used: its voxels are {kind}, no grey values")
    return image, array


def as_values(values: np.ndarray, file: Path, allowed: Sequence[int]) -> np.ndarray:
    """Give the values of a label map as uint8.

    Raises:
        ValueError: there are others than the allowed ones; names the file.
    """
    strange = sorted(set(np.unique(values).tolist()) - set(allowed))
    if strange:
        raise ValueError(f"{file.name} holds the values {strange[:5]}; allowed are {list(allowed)}")
    return values.astype(np.uint8)


def copy_image(image: nib.Nifti1Image, target: Path) -> str:
    """Copy an image as it is, compressed; give its path in the data set."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = Path(str(image.get_filename()))
    if source.suffix != ".gz":
        return save_image(image, target)
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
    return f"{target.parent.name}/{target.name}"


def _find(folder: Path, name: str) -> Path | None:
    return next((path for end in (".nii.gz", ".nii") if (path := folder / (name + end)).is_file()), None)
