# SPDX-License-Identifier: Apache-2.0
"""The image files of a case, from any format of ``read_volume``: by hand, or as a reader of MONAI's ``LoadImaged``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import ImageReader, MetaTensor
from monai.utils import MetaKeys

from wss_monai.io.labels import check_grid, named
from wss_monai.io.volumes import read_volume

__all__ = ["VolumeReader", "paths_of", "read_image"]


class VolumeReader(ImageReader):
    """A reader for MONAI's ``LoadImaged`` that takes every format of ``read_volume``, a DICOM series included.

    Several files (modalities) become channels, channel first: an ``EnsureChannelFirstd`` behind it changes nothing, and
    gives an image that another program has read the same form.

    Args:
        spatial_dims: of the network; with 3, a volume with a single slice is refused.
    """

    def __init__(self, spatial_dims: int | None = None) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims

    def verify_suffix(self, filename: Any) -> bool:
        """Any name is read, a folder (a DICOM series) too; what cannot be read is refused by name."""
        return True

    def read(self, data: Any, **kwargs: Any) -> list[Any]:
        """Give the paths: files are read in ``get_data``, whose errors ``LoadImaged`` passes on as they are."""
        return paths_of(data)

    def get_data(self, img: Any) -> tuple[np.ndarray, dict]:
        """Read the files; give an array (C, *spatial) and what is known of it.

        Raises:
            FileNotFoundError, ValueError: as ``read_image``.
        """
        image = read_image(Path(str(img[0])).name, img, self.spatial_dims)
        known = {**image.meta, MetaKeys.ORIGINAL_CHANNEL_DIM: 0, MetaKeys.SPATIAL_SHAPE: np.asarray(image.shape[1:])}
        return image.as_tensor().numpy(), known


def read_image(name: str, source: Any, spatial_dims: int | None = None) -> MetaTensor:
    """Read the image of a case, (C, *spatial): several files become channels, and a 2D file one slice, (C, X, Y, 1).

    Args:
        name: of the case, for messages.
        source: a path or a list of paths.
        spatial_dims: of the network; with 3, a volume with a single slice is refused.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: an unreadable file, files on different grids, intensities that are not finite, a single slice for a
            3D network; names the case and the file.
    """
    paths = paths_of(source)
    channels: list[MetaTensor] = []
    for path in paths:
        with named(name, "image", path):
            volume: Any = read_volume(path)[None]
            channel: Any = _with_slices(volume)
            check_grid(path, channel, paths[0], channels[0] if channels else channel)
        if not bool(torch.isfinite(channel).all()):
            raise ValueError(
                f"case '{name}': {path} holds intensities that are not finite (NaN or infinite); mend the "
                "file, or leave the case out."
            )
        channels.append(channel)
    if spatial_dims == 3 and min(channels[0].shape[1:]) < 2:
        raise ValueError(
            f"case '{name}': {paths[0]} has shape {tuple(channels[0].shape[1:])}, a single slice, "
            "which a 3D network cannot use; take the 2D configuration, or leave the case out."
        )
    return MetaTensor(torch.cat([c.as_tensor() for c in channels]), meta=channels[0].meta)


def paths_of(source: str | Path | Sequence[str]) -> list[Any]:
    """Give the paths of one file or of several as a list."""
    return [source] if isinstance(source, (str, Path)) else list(source)


def _with_slices(image: MetaTensor) -> MetaTensor:
    """A 2D image (C, X, Y) as one slice (C, X, Y, 1)."""
    return image if image.dim() > 3 else MetaTensor(image.as_tensor()[..., None], meta=image.meta)
