# SPDX-License-Identifier: Apache-2.0
"""Volume files of all formats as tensors in RAS: NIfTI through MONAI's nibabel reader, the rest through SimpleITK."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.data import MetaTensor
from monai.data.image_reader import ImageReader
from monai.transforms import LoadImage
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from wss_monai.io.faults import FormatFault
from wss_monai.io.itk_headers import check_header, check_voxels
from wss_monai.io.nifti_reader import NiftiReader

if TYPE_CHECKING:
    import SimpleITK as sitk  # loaded where it is needed: a run on NIfTI files does without it

__all__ = [
    "SUFFIXES",
    "SimpleITKReader",
    "UnreadableVolume",
    "affine_of",
    "quiet_itk",
    "read_image",
    "read_volume",
    "reason_of",
    "without_suffix",
]

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", *ITK_SUFFIXES)
"""Endings of the volume files that are read; a folder is a DICOM series."""
POSITION, ORIENTATION, DESCRIPTION = "0020|0032", "0020|0037", "0008|103e"


class UnreadableVolume(FormatFault):
    """A file that is no volume; one line that begins with its path and says why."""

    kind = "unreadable"


def read_volume(path: str | PathLike[str]) -> MetaTensor:
    """Read one volume, whatever its format.

    Args:
        path: NIfTI (.nii, .nii.gz), .nrrd, .nhdr, .mha, .mhd with its .raw, a DICOM file, or the folder of one DICOM
            series; and what else MONAI's ``LoadImage`` reads.

    Returns:
        The values as float32, spatial axes only, in the order (x, y[, z]) of the file, with the affine to RAS in mm
        (4 x 4) that nibabel gives for the same image. Axes of length 1 beyond the third are dropped.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableVolume: it cannot be read (truncated, corrupt, empty, another format), has not 2 or 3 axes, holds
            complex numbers or colours, leads to a file outside of its folder, or has no usable geometry.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{fspath(path)} does not exist")
    try:
        volume = _loader()(path)
    except Exception as error:  # readers of broken files fail in every way there is
        raise UnreadableVolume(fspath(path), reason_of(error)) from error
    while volume.dim() > 3 and volume.shape[-1] == 1:
        volume = volume[..., 0]
    if volume.dim() not in (2, 3) or 0 in volume.shape:
        raise UnreadableVolume(
            fspath(path),
            f"shape {tuple(volume.shape)}, expected 2 or 3 non-empty axes",
            "split a 4D file into one 3D file a frame or modality",
        )
    affine = np.asarray(volume.affine)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise UnreadableVolume(
            fspath(path), f"its affine cannot be inverted, so that no voxel has a place: {_row(affine)}"
        )
    return volume


@functools.cache
def _loader() -> LoadImage:
    loader = LoadImage(image_only=True, ensure_channel_first=False, dtype=np.float32)
    loader.register(SimpleITKReader())
    loader.register(NiftiReader())
    return loader


class SimpleITKReader(ImageReader):
    """MONAI image reader for .nrrd, .nhdr, .mha, .mhd (+ .raw), DICOM files and folders with one DICOM series.

    Arrays have the axes (x, y[, z]) and, where a voxel has several components, these last. The affine is turned from
    ITK's LPS to RAS, as nibabel gives it. Use it by hand, for example, in a configuration:
    ``LoadImaged`` with ``reader: wss_monai.io.volumes.SimpleITKReader``.
    """

    def verify_suffix(self, filename: Sequence[str | PathLike[str]] | str | PathLike[str]) -> bool:
        """Tell whether these files, or this folder, are for this reader."""
        return all(Path(name).is_dir() or _is_itk(name) for name in ensure_tuple(filename))

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
        arrays = [_array_of(image) for image in images]
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


def read_image(path: str | PathLike[str]) -> sitk.Image:
    """Read a file, or a folder with one DICOM series, with SimpleITK.

    Raises:
        ValueError: a folder without or with several series, a series whose slices are not evenly spaced along one
            line, complex numbers, and what ``check_header`` and ``check_voxels`` refuse.
        RuntimeError: SimpleITK cannot read it.
    """
    import SimpleITK as sitk

    check_header(path)
    check_voxels(path)
    meta = fspath(path).lower().endswith((".mha", ".mhd"))
    with quiet_itk():
        if Path(path).is_dir():
            return _read_series(Path(path))
        image = sitk.ReadImage(fspath(path), imageIO="MetaImageIO" if meta else "")
    if image.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise ValueError("its voxels are complex numbers; save the magnitude, or another real part")
    return image


def affine_of(image: sitk.Image) -> np.ndarray:
    """Give the affine from voxel indices to RAS in mm, (4, 4), of a 2D or 3D image (or of the frames of a 4D one)."""
    n = image.GetDimension()
    used = min(n, 3)
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (n, n))[:used, :used]
    affine[:used, :used] = direction * np.asarray(image.GetSpacing())[:used]
    affine[:used, 3] = image.GetOrigin()[:used]
    affine[:2] *= -1
    if n == 2:
        affine[:2, 2] = 0
    return affine + 0.0  # no negative zeros


def reason_of(error: BaseException) -> str:
    """Give the one line of an error that says what went wrong."""
    text = str(error).strip()
    for mark in ("ERROR:", "Description:"):
        text = text.rpartition(mark)[2].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Exception thrown in SimpleITK")] or lines
    return re.sub(r"\b\w+\(0x[0-9a-f]+\): ", "", lines[0]) if lines else type(error).__name__


def without_suffix(name: str) -> str:
    """Give the name of a volume file, or of a DICOM folder, without its ending."""
    lower = name.lower()
    return next((name[: -len(end)] for end in SUFFIXES if lower.endswith(end) and len(name) > len(end)), name)


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's warnings off stderr for a while."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _is_itk(name: str | PathLike[str]) -> bool:
    return fspath(name).lower().endswith(ITK_SUFFIXES)


def _array_of(image: sitk.Image) -> np.ndarray:
    """Give the voxels with the axes (x, y[, z][, t][, component])."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    n = image.GetDimension()
    return np.ascontiguousarray(array.transpose(*range(n)[::-1], *range(n, array.ndim)))


def _read_series(folder: Path) -> sitk.Image:
    """Read the one DICOM series of a folder."""
    import SimpleITK as sitk

    names = {uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(fspath(folder), uid) for uid in _series_of(folder)}
    if not names:
        raise ValueError("a folder without a DICOM file")
    if len(names) > 1:
        listed = ", ".join(f"{uid} ({len(files)} files{_description(files[0])})" for uid, files in names.items())
        raise ValueError(f"holds {len(names)} DICOM series; keep one a folder: {listed}")
    (files,) = names.values()
    if len(files) == 1:
        return sitk.ReadImage(files[0])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    _check_slices(reader, len(files))
    return image


def _series_of(folder: Path) -> list[str]:
    import SimpleITK as sitk

    return sorted(sitk.ImageSeriesReader.GetGDCMSeriesIDs(fspath(folder)))


def _description(file: str) -> str:
    """Give the series description of a DICOM file, led by a comma, or nothing."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    text = reader.GetMetaData(DESCRIPTION).strip() if reader.HasMetaDataKey(DESCRIPTION) else ""
    return text and f", '{text}'"


def _check_slices(reader: sitk.ImageSeriesReader, count: int) -> None:
    """Refuse a series whose slices do not lie evenly on the normal of the slice plane: its geometry would be wrong."""
    if not all(reader.HasMetaDataKey(i, key) for i in range(count) for key in (POSITION, ORIENTATION)):
        raise ValueError("its slices do not say where they lie (Image Position, Image Orientation)")

    def numbers(key: str) -> np.ndarray:
        return np.array([[float(x) for x in reader.GetMetaData(i, key).split("\\")] for i in range(count)])

    places, axes = numbers(POSITION), numbers(ORIENTATION)
    if not np.allclose(axes, axes[0], atol=1e-3):
        raise ValueError("its slices are not parallel; keep one stack a folder")
    normal = np.cross(axes[0, :3], axes[0, 3:])
    steps = np.diff(places, axis=0)
    along = np.abs(steps @ normal)
    if along.min() < 1e-3:
        raise ValueError("two of its slices lie at one place (a series over time?); keep one volume a folder")
    if along.max() - along.min() > 0.02 * np.median(along) + 1e-3:
        raise ValueError(
            f"its slices lie {along.min():.3f} to {along.max():.3f} mm apart: slices are missing, or unevenly spaced; "
            "add the missing ones or resample"
        )
    if np.abs(steps - (steps @ normal)[:, None] * normal).max() > 0.02 * np.median(along) + 1e-3:
        raise ValueError("its slices are shifted against each other (a tilted gantry); resample it first")


def _row(matrix: np.ndarray) -> str:
    return " ".join(str(matrix.tolist()).split())
