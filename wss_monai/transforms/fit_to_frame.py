# SPDX-License-Identifier: Apache-2.0
"""From a volume to the frame that a network sees: crop and pad it, or stretch it, and cut intensities to levels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Resized, ResizeWithPadOrCropd, SpatialResample
from monai.utils import convert_to_tensor, fall_back_tuple
from torch import Tensor

from wss_monai.functional import UNLABELLED

__all__ = ["FitToFramed"]

MODES = {"nearest": ("nearest-exact", None), "linear": ("trilinear", False), "aligned": ("bilinear", True)}
"""Word -> interpolation of images and ``align_corners``: of MONAI's ``Resize``, of ``SpatialResample`` for the last."""


class FitToFramed(MapTransform, InvertibleTransform):
    """Crop or pad volumes to a frame, or stretch them to it, whatever their own proportions.

    The affine of the result says where its voxels lie, so that what is measured in mm, mm2 or ml afterwards stays
    right: stretched voxels have edges of different lengths. ``Invertd`` brings predictions back to the grid before.

    Args:
        keys: volumes (C, X, Y, Z).
        spatial_size: voxels along each axis after cropping and padding about the centre; -1: the axis stays.
        stretch: voxels along each axis after stretching the whole volume, in the place of ``spatial_size``; -1: the
            axis stays. None: crop and pad.
        mode: how images are stretched: "nearest" (the nearest voxel), "linear", or "aligned" (linearly, corner voxels
            onto corner voxels). Published codes differ in it.
        index: the volumes are maps of class indices: stretched to the nearest voxel on the same grid as the images,
            padded with 255 (unlabelled).
        levels: intensities in 0..1 are cut down to so many levels in the end, 256 as in a picture of 8 bit; None: not.
        allow_missing_keys: leave a case without a key as it is.

    Raises:
        ValueError: another mode, a stretch with an extent that is neither positive nor -1, fewer than two levels; in a
            call also a volume with fewer axes than ``stretch`` names, or an intensity outside of 0..1 where there are
            levels.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spatial_size: Sequence[int],
        stretch: Sequence[int] | None = None,
        mode: str = "linear",
        index: bool = False,
        levels: int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if mode not in MODES:
            raise ValueError(f"mode of stretching (--stretch_mode) must be one of {', '.join(MODES)}, got {mode!r}.")
        if stretch is not None and not all(extent == -1 or extent > 0 for extent in stretch):
            raise ValueError(f"stretch must have a number of voxels for each axis, or -1, got {list(stretch)}.")
        if levels is not None and levels < 2:
            raise ValueError(f"levels must be at least 2, or null, got {levels}.")
        self.stretch = None if stretch is None else list(stretch)
        self.index = index
        self.levels = None if index else levels
        self.aligned = stretch is not None and mode == "aligned"
        self.inner: Any
        if self.stretch is None:
            pad: dict[str, Any] = {"value": UNLABELLED} if index else {}
            self.inner = ResizeWithPadOrCropd(self.keys, spatial_size, allow_missing_keys=allow_missing_keys, **pad)
        elif self.aligned:  # MONAI's Resize makes the edge of a single slice 0 mm long
            kind = "nearest" if index else MODES[mode][0]
            self.inner = SpatialResample(mode=kind, padding_mode="border", align_corners=True)
        else:
            kind, corners = MODES["nearest" if index else mode]
            self.inner = Resized(
                self.keys, self.stretch, mode=kind, align_corners=corners, allow_missing_keys=allow_missing_keys
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Fit the volumes among the keys to the frame."""
        given = {key: data[key].dtype for key in self.key_iterator(dict(data))}
        for key in given if self.stretch is not None else ():
            if data[key].ndim - 1 != len(self.stretch or ()):
                raise ValueError(
                    f"case '{data.get('case', '')}': --stretch {self.stretch} does not fit {key} of "
                    f"{list(data[key].shape[1:])} voxels: name an extent for each axis, -1 where it stays."
                )
        if self.aligned:
            out = {**data, **{key: self._aligned(data[key]) for key in given}}
        else:
            out = self.inner(data)
        for key, dtype in given.items():
            if self.index and out[key].dtype != dtype:  # MONAI gives float32
                out[key] = out[key].to(dtype)
            if self.levels is not None:
                out[key] = self._cut_down(out[key], key, data)
        return out

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring the volumes among the keys back to the grid before; the levels stay."""
        if self.aligned:
            d = dict(data)
            for key in self.key_iterator(d):
                d[key] = self.inner.inverse(d[key])
            return d
        self.inner.allow_missing_keys = self.allow_missing_keys
        restored: dict[Hashable, Any] = self.inner.inverse(data)
        return restored

    def _aligned(self, given: Tensor) -> Tensor:
        """A volume stretched corner voxels onto corner voxels."""
        volume = convert_to_tensor(given, track_meta=True)
        shape = volume.shape[1:]
        size = fall_back_tuple(self.stretch, shape)
        edges = [(n - 1) / (m - 1) if min(n, m) > 1 else n / m for n, m in zip(shape, size, strict=True)]
        affine = volume.affine @ torch.diag(torch.tensor([*edges, 1.0])).to(volume.affine)
        moved: Tensor = self.inner(volume, dst_affine=affine, spatial_size=size)
        return moved

    def _cut_down(self, image: Tensor, key: Hashable, data: Mapping[Hashable, Any]) -> Tensor:
        least, most = float(image.min()), float(image.max())
        if least < -1e-3 or most > 1 + 1e-3:
            raise ValueError(
                f"case '{data.get('case', '')}': {key} has intensities from {least:g} to {most:g}, but --levels "
                f"{self.levels} cuts down what lies in 0..1: scale it before."
            )
        top = (self.levels or 0) - 1
        cut = (image.clamp(0, 1) * top).floor() / top
        return (
            cut
            if isinstance(cut, MetaTensor) or not isinstance(image, MetaTensor)
            else MetaTensor(cut, meta=image.meta)
        )
