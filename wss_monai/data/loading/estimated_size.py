# SPDX-License-Identifier: Apache-2.0
"""How many bytes a store will hold, from headers and one prepared case, before anything is read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import Compose, Resized, ResizeWithPadOrCropd, Spacingd

from wss_monai.data.loading.prepared_cases import PreparedCases
from wss_monai.io.faults import FormatFault
from wss_monai.io.grids import read_grid

__all__ = ["estimated_bytes", "prepared_shape"]

HEADERS = 200
"""Of more cases so many headers are read, evenly over the list."""


def estimated_bytes(volumes: PreparedCases, maps: Sequence[str], least: Sequence[int] = ()) -> int:
    """Bytes of image and maps of all cases.

    The first case is prepared, which tells the bytes of a voxel; the headers of all cases, or of 200 of them, tell
    their shapes, which resampling to a spacing and padding or cropping change in a known way. Where other steps change
    them too, the shapes are scaled as that of the first case.

    Args:
        volumes: the cases.
        maps: keys of the maps that are stored where a case has them, a byte a voxel and channel.
        least: voxels along each axis up to which the store pads; none.
    """
    if not len(volumes):
        return 0
    first = volumes[0]
    channels = sum(first[key].shape[0] for key in maps if key in first)
    shape = tuple(first["image"].shape[1:])
    voxel_bytes = first["image"].shape[0] * first["image"].element_size() + channels
    count = len(volumes.data)
    chosen = sorted({round(i) for i in np.linspace(0, count - 1, min(count, HEADERS))})
    shapes = [prepared_shape(volumes.data[i], volumes.transform) for i in chosen]
    known = [found for found in shapes if found is not None and len(found) == len(shape)]
    if shapes[0] is None or not known:
        return voxel_bytes * _voxels(shape, least) * count
    scale = math.prod(shape) / math.prod(shapes[0])
    if shapes[0] == shape:
        total = sum(_voxels(found, least) for found in known)
    else:
        total = sum(math.prod(found) for found in known) * scale
    return round(voxel_bytes * total * count / len(known))


def prepared_shape(case: Any, transform: Any) -> tuple[int, ...] | None:
    """Voxels along each axis of a case after its transforms, as far as they resample, pad or crop; None: unknown.

    Args:
        case: with the file of its ``image``, or a list of them.
        transform: MONAI's ``Compose``.
    """
    image = case.get("image") if isinstance(case, Mapping) else None
    path = image[0] if isinstance(image, list) and image else image
    if not isinstance(path, str):
        return None
    try:
        grid = read_grid(path)
    except FormatFault:
        return None  # said when the case is prepared
    shape, spacing = list(grid.shape), list(grid.spacing)
    for step in _steps(transform):
        if "image" not in getattr(step, "keys", ()):
            continue
        if isinstance(step, Spacingd):
            wanted = [float(length) for length in step.spacing_transform.pixdim]
            wanted = (wanted * len(shape) if len(wanted) == 1 else wanted) + [-1.0] * len(shape)
            for axis in range(len(shape)):
                if wanted[axis] > 0:
                    shape[axis] = round((shape[axis] - 1) * spacing[axis] / wanted[axis]) + 1
        elif isinstance(step, ResizeWithPadOrCropd | Resized):
            parts = vars(step)
            size = parts["resizer"].spatial_size if "resizer" in parts else parts["padder"].cropper.roi_size
            sizes = [*([size] * len(shape) if isinstance(size, int) else size), *[-1] * len(shape)]
            shape = [
                n if length is None or length < 0 else int(length) for n, length in zip(shape, sizes, strict=False)
            ]
    return tuple(shape)


def _steps(transform: Any) -> Iterator[Any]:
    if isinstance(transform, Compose):
        for step in transform.transforms:
            yield from _steps(step)
    else:
        yield getattr(transform, "inner", transform)  # of a step that hands on to one of MONAI's


def _voxels(shape: Sequence[int], least: Sequence[int]) -> int:
    return math.prod(max(n, p) for n, p in zip(shape, [*least, *[0] * len(shape)], strict=False))
