# SPDX-License-Identifier: Apache-2.0
"""Label files as class indices on an image's grid: plain label maps by value, 3D Slicer's segmentations by name."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np

from wss_monai.functional import UNLABELLED
from wss_monai.io.faults import FormatFault
from wss_monai.io.grids import same_grid
from wss_monai.io.itk_headers import check_header
from wss_monai.io.volumes import UnreadableVolume, affine_of, quiet_itk, read_array, read_image, read_volume, reason_of

if TYPE_CHECKING:
    from monai.data import MetaTensor

__all__ = ["check_grid", "is_segmentation", "named", "read_index", "read_label", "segments_of", "whole_numbers"]

UNLABELLED_NAME = "unlabelled"
ROUNDING = 1e-3
"""What a scale of the header (scl_slope) may leave of whole numbers."""
LARGEST = 2**24
"""Above it float32, in which volumes are read, skips whole numbers."""
MANY = 20
"""How many values or names an error lists."""


@dataclass(frozen=True)
class Segment:
    """A segment of a 3D Slicer segmentation: its name, and the value that marks it in one of the layers."""

    name: str
    value: int
    layer: int


def read_label(
    path: str | PathLike[str],
    image: MetaTensor,
    values: Mapping[int, int] | None = None,
    segments: Mapping[str, int] | None = None,
    undrawn: int = 0,
    image_path: str | PathLike[str] = "the image",
    squeezed: bool = False,
) -> MetaTensor:
    """Read a label map, or a 3D Slicer segmentation, as class indices.

    Args:
        path: a volume file with one value a class, or a .seg.nrrd. Its segments may overlap where they mean the same
            class, and its grid may be a part of the image's.
        image: what it belongs to, (C, *spatial).
        values: file value -> class index, 255 = unlabelled; None: the values are the indices.
        segments: segment name -> class index; what a segment of index 255 covers counts as not drawn.
        undrawn: index of what no segment covers (0 in a dense label, 255 in a weak one).
        image_path: name of the image in messages.
        squeezed: the file may have more or fewer axes of length 1 than the image, as what other programs save may.

    Returns:
        Class indices, (1, *spatial), uint8, on the image's grid.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableVolume: it cannot be read.
        ValueError: another grid than the image's; values or segments without a meaning (the message shows the map to
            write); segments of different classes that overlap, or that reach out of the image. All begin with the path.
    """
    import torch
    from monai.data import MetaTensor

    names = _names(segments)
    if is_segmentation(path):
        array = _read_segmentation(fspath(path), segments_of(path), image, segments or {}, undrawn)
        return MetaTensor(torch.from_numpy(array)[None], meta=image.meta)
    volume: Any = read_volume(path)[None]
    if squeezed and volume.squeeze().shape == image[0].squeeze().shape:
        volume = MetaTensor(volume.as_tensor().reshape(1, *image.shape[1:]), meta=volume.meta)
    flat = volume.dim() == 3 and image.dim() == 4 and image.shape[-1] == 1  # a 2D file, and its image as one slice
    check_grid(path, volume, image_path, MetaTensor(image.as_tensor()[..., 0], meta=image.meta) if flat else image)
    if flat:
        volume = MetaTensor(volume.as_tensor()[..., None], meta=image.meta)
    return MetaTensor(torch.from_numpy(_indices(path, np.asarray(volume), values, names)), meta=volume.meta)


def read_index(
    path: str | PathLike[str], values: Mapping[int, int] | None = None, segments: Mapping[str, int] | None = None
) -> np.ndarray:
    """Read a label map as class indices, without an image beside it, and without torch.

    Args:
        path: a volume file with one value a class; no segmentation of 3D Slicer.
        values, segments: as of ``read_label``; the segments give names for messages alone.

    Returns:
        Class indices, (*spatial), uint8.

    Raises:
        FileNotFoundError, UnreadableVolume, ValueError: as ``read_label``.
    """
    return _indices(path, read_array(path)[0], values, _names(segments))


def _names(segments: Mapping[str, int] | None) -> dict[int, str]:
    """Class index -> name, the first one where several mean it."""
    return {index: name for name, index in reversed(list((segments or {}).items()))}


def check_grid(path: object, volume: MetaTensor, image_path: object, image: MetaTensor) -> None:
    """Refuse two channel-first volumes that do not share shape and affine.

    Raises:
        ValueError: they differ; the message begins with ``path``.
    """
    if volume.shape[1:] != image.shape[1:]:
        raise ValueError(
            f"{path} has shape {tuple(volume.shape[1:])}, but {image_path} has {tuple(image.shape[1:])};"
            " resample one onto the other."
        )
    if not same_grid(volume.affine, image.affine, volume.shape[1:]):
        raise ValueError(
            f"{path} has another affine than {image_path}:\n{np.asarray(volume.affine)}\n"
            f"{np.asarray(image.affine)}\nThe mask would lie in the wrong place; save it on the image's grid."
        )


def whole_numbers(array: np.ndarray, path: object = "") -> np.ndarray:
    """Round the values of a label map, which a scale of its header may have left a little off.

    Raises:
        FormatFault: they are no whole numbers, or so large that the type they are read in skips some.
    """
    nearest: np.ndarray = np.rint(array)
    if not np.isfinite(array).all() or np.abs(nearest - array).max(initial=0) > ROUNDING:
        raise FormatFault(
            path, "holds values that are not whole numbers", "resample label maps by nearest neighbour", kind="values"
        )
    if np.abs(nearest).max(initial=0) >= LARGEST:
        raise FormatFault(
            path,
            f"holds values of {LARGEST} and more, which cannot be told apart in the type they are read in",
            "number the classes anew, from 0",
            kind="values",
        )
    return nearest


def _indices(path: object, array: np.ndarray, values: Mapping[int, int] | None, names: Mapping[int, str]) -> np.ndarray:
    """Map file values to class indices as uint8."""
    rounded = whole_numbers(array, path).astype(np.int64)
    seen = [int(v) for v in np.unique(rounded)]
    table = {v: v for v in seen} if values is None else {int(v): int(i) for v, i in values.items()}
    unknown = [v for v in seen if v not in table or not 0 <= table[v] <= UNLABELLED]
    if unknown:
        known = {**names, UNLABELLED: UNLABELLED_NAME}
        wanted = {str(v): known.get(table.get(v, -1), "?") for v in sorted({*table, *unknown[:MANY]})}
        raise ValueError(
            f"{path} holds the values {_some(unknown)}, which dataset.json does not name; it names "
            f"{sorted(table)} ('labels' for masks, 'weak_label.values' for weak labels). All values of the file: "
            f"{_some(seen)}. Write what each means, in place of '?': {json.dumps(wanted, ensure_ascii=False)}"
        )
    keys = np.array(sorted(table))
    indices = np.array([table[int(k)] for k in keys], dtype=np.uint8)
    return indices[np.searchsorted(keys, rounded)]


def is_segmentation(path: str | PathLike[str]) -> bool:
    """Whether a file is a segmentation of 3D Slicer: a .nrrd that names segments, or a .seg.nrrd of a single voxel."""
    if segments_of(path):
        return True
    reader = _header(path) if fspath(path).lower().endswith(".seg.nrrd") else None
    return reader is not None and set(reader.GetSize()[:3]) == {1}


def segments_of(path: str | PathLike[str]) -> list[Segment]:
    """List the segments that the header of a .nrrd names; none where it is another file, or a plain label map."""
    if not fspath(path).lower().endswith((".nrrd", ".nhdr")):
        return []
    reader = _header(path)
    if reader is None:
        return []
    keys = reader.GetMetaDataKeys()
    numbers = sorted(int(m[1]) for key in keys if (m := re.fullmatch(r"Segment(\d+)_(?:ID|Name)", key)))
    numbers = list(dict.fromkeys(numbers))

    def field(number: int, name: str, default: str) -> str:
        key = f"Segment{number}_{name}"
        return reader.GetMetaData(key).strip() if key in keys else default

    def number_of(n: int, name: str, default: int) -> int:
        text = field(n, name, str(default))
        if not text.isdecimal():
            raise UnreadableVolume(fspath(path), f"its header says Segment{n}_{name} '{text}', which is no number")
        return int(text)

    # files of Slicer before 4.11 give each segment a layer of its own, and no values
    return [
        Segment(field(n, "Name", field(n, "ID", "")), number_of(n, "LabelValue", 1), number_of(n, "Layer", place))
        for place, n in enumerate(numbers)
    ]


def _header(path: str | PathLike[str]) -> Any:
    """SimpleITK's reader with the header of a file; None where it cannot be read, and ``read_volume`` says why."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(fspath(path))
    try:
        check_header(path)
        with quiet_itk():
            reader.ReadImageInformation()
    except (RuntimeError, ValueError, OSError):
        return None
    return reader


def _read_segmentation(
    path: str, found: list[Segment], image: MetaTensor, classes: Mapping[str, int], undrawn: int
) -> np.ndarray:
    """Paint the segments, by class, onto the image's grid."""
    import SimpleITK as sitk

    try:
        stored = read_image(path)
    except (RuntimeError, ValueError) as error:
        raise UnreadableVolume(path, reason_of(error)) from error
    layers = sitk.GetArrayFromImage(stored)
    layers = layers[..., None] if stored.GetNumberOfComponentsPerPixel() == 1 else layers
    layers = layers.transpose(3, 2, 1, 0) if layers.ndim == 4 else layers.transpose(2, 1, 0)[..., None]
    if layers.shape[1:] == (1, 1, 1) and not layers.any():  # what Slicer saves of empty segments; no place is meant
        return np.full(tuple(image.shape[1:]), undrawn, np.uint8)
    there, here = _places(path, layers.shape[1:], affine_of(stored), image)
    drawn = {}
    for segment in found:
        if not 0 <= segment.layer < len(layers):
            raise UnreadableVolume(path, f"segment '{segment.name}' lies in layer {segment.layer} of {len(layers)}")
        mask = layers[segment.layer] == segment.value
        if mask.sum() != mask[here].sum():
            raise FormatFault(path, f"segment '{segment.name}' reaches out of the image", "crop it", kind="values")
        if mask.any():
            drawn[segment] = mask[here]
    _check_names(path, drawn, classes)
    shape = tuple(image.shape[1:])
    part = np.full(layers.shape[1:], undrawn, np.uint8)[here]
    owner: dict[int, str] = {}
    taken = np.zeros(part.shape, bool)
    for segment, mask in drawn.items():
        index = classes[segment.name]
        if index == UNLABELLED:
            continue
        clash = mask & taken & (part != index)
        if clash.any():
            other = owner[int(part[clash][0])]
            raise FormatFault(
                path,
                f"the segments '{other}' and '{segment.name}' overlap in {int(clash.sum())} voxels and are different "
                "classes",
                "draw with 'overwrite other segments', or give both one class",
                kind="values",
            )
        part[mask], taken[mask] = index, True
        owner.setdefault(index, segment.name)
    whole = np.full((*shape, 1)[:3], undrawn, np.uint8)
    whole[there] = part
    return whole.reshape(shape)


def _check_names(path: str, drawn: Mapping[Segment, np.ndarray], classes: Mapping[str, int]) -> None:
    """Refuse segments whose name means nothing."""
    names = [segment.name for segment in drawn]
    if all(name in classes for name in names):
        return
    alike = {name.strip().lower(): name for name in classes}
    wanted = {name: alike.get(name.strip().lower(), "?") for name in names if name not in classes}
    raise FormatFault(
        path,
        f"has the segments {_some(names)}, of which {_some(list(wanted))} are no class",
        f"the classes are {list(classes)}. Rename them in 3D Slicer, or write in dataset.json, under 'weak_label' (for "
        f"a dense label: at the top), with a class{' or unlabelled' if UNLABELLED_NAME in classes else ''} in place of "
        f"'?': \"segments\": {json.dumps(wanted, ensure_ascii=False)}",
        kind="values",
    )


def _places(path: str, shape: tuple[int, ...], affine: np.ndarray, image: MetaTensor) -> tuple:
    """Give the part of the image's grid that a segmentation covers, and the part of the segmentation on it, as slices.

    Raises:
        ValueError: its voxels are not voxels of the image.
    """
    to_image = np.linalg.inv(np.asarray(image.affine)) @ affine
    offset = np.rint(to_image[:3, 3]).astype(int)
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in shape])), dtype=float)
    if np.abs(corners @ to_image[:3, :3].T + to_image[:3, 3] - corners - offset).max() > 0.05:
        raise FormatFault(
            path,
            "its voxels are not those of the image: index (i, j, k) lies at "
            f"{np.round(to_image[:3], 3).tolist()} @ (i, j, k, 1) of the image",
            "in 3D Slicer choose the image as source geometry, or export a label map on it",
            kind="affine",
        )
    size = (*image.shape[1:], 1)[:3]
    there, here = [], []
    for start, length, whole in zip(offset, shape, size, strict=True):
        first, last = max(0, -start), min(length, whole - start)
        here.append(slice(first, max(first, last)))
        there.append(slice(first + start, max(first, last) + start))
    return tuple(there), tuple(here)


def _some(items: list) -> str:
    """Show a list, shortened where it is long."""
    return str(items) if len(items) <= MANY else f"{str(items[:MANY])[:-1]}, ... ({len(items)} in all)]"


@contextmanager
def named(name: str, key: str, path: Any) -> Iterator[None]:
    """Say in errors which case and which of its files is meant."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"case '{name}': {key} {path} does not exist; mend its path in dataset.json.") from None
    except UnreadableVolume as error:
        raise ValueError(f"case '{name}': cannot read {key} {error}.") from error
    except ValueError as error:
        raise ValueError(f"case '{name}': {key} {error}") from error
