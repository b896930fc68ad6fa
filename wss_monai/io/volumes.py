# SPDX-License-Identifier: Apache-2.0
"""Volume files of all formats as tensors in RAS: NIfTI through MONAI's nibabel reader, the rest through SimpleITK."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wss_monai.io.faults import FormatFault
from wss_monai.io.itk_headers import check_header, check_voxels
from wss_monai.io.nifti_reader import affine_in_mm, open_nifti

if TYPE_CHECKING:
    import SimpleITK as sitk  # loaded where it is needed: a run on NIfTI files does without it
    from monai.data import MetaTensor  # as is MONAI: commands that look at arrays do without it and torch
    from monai.transforms import LoadImage

    from wss_monai.io.readers import SimpleITKReader

__all__ = [
    "SUFFIXES",
    "SimpleITKReader",
    "UnreadableVolume",
    "affine_of",
    "array_of",
    "is_itk",
    "quiet_itk",
    "read_array",
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
    volume = _read(path, _loader())
    while volume.dim() > 3 and volume.shape[-1] == 1:
        volume = volume[..., 0]
    _check(path, tuple(volume.shape), np.asarray(volume.affine))
    return volume


def read_array(path: str | PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read one volume as ``read_volume`` does, without torch and MONAI where the format is NIfTI or one of SimpleITK's.

    Returns:
        The values, (x, y[, z]), float32, and the affine to RAS in mm, (4, 4), float64.

    Raises:
        FileNotFoundError, UnreadableVolume: as ``read_volume``.
    """
    name = fspath(path)
    if name.lower().endswith((".nii", ".nii.gz")):
        array, affine = _read(path, _nifti)
    elif is_itk(name) or Path(name).is_dir():
        array, affine = _read(path, _itk)
    else:
        volume: Any = _read(path, _loader())
        array, affine = volume.numpy(), np.asarray(volume.affine, dtype=float)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    _check(path, array.shape, affine)
    return array, affine


def _read(path: str | PathLike[str], reader: Callable[[Any], Any]) -> Any:
    if not Path(path).exists():
        raise FileNotFoundError(f"{fspath(path)} does not exist")
    try:
        return reader(path)
    except Exception as error:  # readers of broken files fail in every way there is
        raise UnreadableVolume(fspath(path), reason_of(error)) from error


def _check(path: str | PathLike[str], shape: tuple[int, ...], affine: np.ndarray) -> None:
    """Refuse what has not 2 or 3 axes, or no geometry."""
    if len(shape) not in (2, 3) or 0 in shape:
        raise UnreadableVolume(
            fspath(path),
            f"shape {shape}, expected 2 or 3 non-empty axes",
            "split a 4D file into one 3D file a frame or modality",
        )
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise UnreadableVolume(
            fspath(path), f"its affine cannot be inverted, so that no voxel has a place: {_row(affine)}"
        )


@functools.cache
def _loader() -> LoadImage:
    from monai.transforms import LoadImage

    from wss_monai.io.readers import NiftiReader, SimpleITKReader

    loader = LoadImage(image_only=True, ensure_channel_first=False, dtype=np.float32)
    loader.register(SimpleITKReader())
    loader.register(NiftiReader())
    return loader


def _nifti(path: str | PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    image = open_nifti(fspath(path), whole=True)
    return np.asanyarray(image.dataobj).astype(np.float32, copy=False), affine_in_mm(image)


def _itk(path: str | PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    image = read_image(path)
    return array_of(image).astype(np.float32, copy=False), affine_of(image)


def __getattr__(name: str) -> Any:
    if name != "SimpleITKReader":  # a reader of MONAI's, which is imported where somebody asks for it
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from wss_monai.io.readers import SimpleITKReader

    return SimpleITKReader


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


def is_itk(name: str | PathLike[str]) -> bool:
    """Tell whether a file has an ending of the formats that SimpleITK reads."""
    return fspath(name).lower().endswith(ITK_SUFFIXES)


def array_of(image: sitk.Image) -> np.ndarray:
    """Give the voxels with the axes `(x, y[, z][, t][, component])`."""
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
