# SPDX-License-Identifier: Apache-2.0
"""Readers of MONAI's: NIfTI with its unit and checksum, and the formats that SimpleITK reads."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader, NibabelReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from wss_monai.io.nifti_reader import affine_in_mm, open_nifti
from wss_monai.io.volumes import ITK_SUFFIXES, affine_of, array_of, is_itk, read_image


class SimpleITKReader(ImageReader):
    """MONAI image reader for .nrrd, .nhdr, .mha, .mhd (+ .raw), DICOM files and folders with one DICOM series.

    Arrays have the axes (x, y[, z]) and, where a voxel has several components, these last. The affine is turned from
    ITK's LPS to RAS, as nibabel gives it. Use it by hand, for example, in a configuration:
    ``LoadImaged`` with ``reader: wss_monai.io.volumes.SimpleITKReader``.
    """

    def verify_suffix(self, filename: Sequence[str | PathLike[str]] | str | PathLike[str]) -> bool:
        """Tell whether these files, or this folder, are for this reader."""
        return all(Path(name).is_dir() or is_itk(name) for name in ensure_tuple(filename))

    def read(self, data: Sequence[str | PathLike[str]] | str | PathLike[str], **kwargs: Any) -> Any:
        """Read one file or several (which ``get_data`` stacks as channels).

        Raises:
            ValueError: a format that is not this reader's.
            RuntimeError: SimpleITK cannot read the file.
        """
        names = [fspath(name) for name in ensure_tuple(data)]
        if not self.verify_suffix(names):
            raise ValueError(f"{names}: SimpleITKReader reads folders and {list(ITK_SUFFIXES)}")
        images = [read_image(name) for name in names]
        return images if len(images) > 1 else images[0]

    def get_data(self, img: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Give the array and the metadata (affine to RAS, shape, channel axis) that ``LoadImage`` wants."""
        import SimpleITK as sitk

        images = [img] if isinstance(img, sitk.Image) else list(img)
        arrays = [array_of(image) for image in images]
        affine = affine_of(images[0])
        for image, array in zip(images, arrays, strict=True):
            if array.shape != arrays[0].shape or not np.allclose(affine_of(image), affine, atol=1e-3):
                raise ValueError("files that are stacked as channels must have one shape and one affine")
        spatial = images[0].GetDimension()
        channel: float = float("nan") if arrays[0].ndim == spatial else -1
        meta: dict[Any, Any] = {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(images[0].GetSize()),
            MetaKeys.ORIGINAL_CHANNEL_DIM: channel if len(images) == 1 else 0,
        }
        return (arrays[0] if len(images) == 1 else np.stack(arrays)), meta


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
