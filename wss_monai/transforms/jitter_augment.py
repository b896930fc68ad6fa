# SPDX-License-Identifier: Apache-2.0
"""The augmentation of published code that works on pictures of 8 bit: nearest neighbours, brightness and contrast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wss_monai.functional.transfer import send
from wss_monai.transforms.batch_augment import BatchAugment

__all__ = ["JitterAugment"]

STREAM = 0x6A17
"""Tells the draw of the contrasts from that of the noise."""
ALMOST = 1e-3
"""Of a level; added before values are cut down to levels, so that rounding errors lose none."""


class JitterAugment(BatchAugment):
    """``BatchAugment`` as the released code of Peng et al. (MELBA 2021:009) has it.

    The geometry is a rotation, then the flips, then the crop of a random place. Images are resampled to the nearest
    voxel, as label maps are. Brightness (the gain) and contrast change in a random order: of a sample with the mean m
    every value x becomes m + f (x - m), f drawn from 1 - contrast .. 1 + contrast. What leaves 0..1 is clipped, as in a
    picture of 8 bit.

    Args:
        num_classes: K.
        contrast: largest relative change of the contrast, from 0 to 1.
        crop: extent of what comes out, an entry a spatial axis, -1 for the whole axis; its place is drawn uniformly
            among those that lie inside the frame. None: all of it.
        levels: intensities take so many values, 256 as in a picture of 8 bit: they are cut down to the next one below
            after each change, and m is rounded to one. None: any value.
        augment: all other arguments of ``BatchAugment``.

    Raises:
        ValueError: numbers out of range; in a call also images that are smaller than the crop.
    """

    def __init__(
        self,
        num_classes: int,
        contrast: float = 0.5,
        crop: Sequence[int] | None = None,
        levels: int | None = None,
        **augment: Any,
    ) -> None:
        super().__init__(num_classes, **augment)
        if not 0 <= contrast <= 1:
            raise ValueError(f"contrast must be between 0 and 1, got {contrast}.")
        if crop is not None and not all(extent == -1 or extent >= 1 for extent in crop):
            raise ValueError(f"crop must have an extent of at least 1 for each axis, or -1, got {list(crop)}.")
        if levels is not None and levels < 2:
            raise ValueError(f"levels must be at least 2, or null, got {levels}.")
        self.contrast = contrast
        self.crop = None if crop is None else list(crop)
        self.levels = levels

    def __repr__(self) -> str:
        """Everything that a draw depends on, for the record of a run."""
        return super().__repr__().replace("BatchAugment(", "JitterAugment(", 1)

    @staticmethod
    def warp(image: Tensor, grid: Tensor) -> Tensor:
        """Resample (B, C, *spatial) to the nearest voxel; 0 outside."""
        return F.grid_sample(image, grid.to(image.dtype), mode="nearest", padding_mode="zeros", align_corners=True)

    def frame(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Extent of the crop of images of ``shape``."""
        if self.crop is None:
            return shape
        frame = tuple(n if m == -1 else m for n, m in zip(shape, self.crop, strict=False))
        if len(self.crop) != len(shape) or any(m > n for n, m in zip(shape, frame, strict=True)):
            raise ValueError(
                f"a crop of {self.crop} does not fit images of {list(shape)}: make it smaller, or pad them."
            )
        return frame

    def join(self, small: np.ndarray, exact: np.ndarray) -> np.ndarray:
        """The rotation first, then the flips."""
        joined: np.ndarray = exact @ small
        return joined

    def draw(
        self,
        count: int,
        shape: tuple[int, ...],
        spacing: Tensor,
        generator: torch.Generator,
        group: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Matrices (B, D+1, D+1) from the image to its crop, and the spacing (B, D) after, in float64 on the CPU."""
        matrix, after = super().draw(count, shape, spacing, generator, group)
        if self.crop is not None:
            room = torch.tensor([n - m for n, m in zip(shape, self.frame(shape), strict=True)])
            drawn = torch.rand(count, len(shape), generator=generator, dtype=torch.float64)
            corner = (drawn * (room + 1)).floor()
            if group is not None:
                first = (group[:, None] == group[None]).int().argmax(1)  # the first sample of each one's group
                corner = corner[first]
            matrix[:, :-1, -1] -= corner
        return matrix, after

    def _change_intensities(self, image: Tensor, chosen: Tensor, intensities: Tensor, seed: int) -> Tensor:
        if not len(chosen):
            return image
        drawn = torch.rand(2, len(chosen), generator=torch.Generator().manual_seed(seed ^ STREAM))
        factor, order = send(drawn.to(image.dtype), image.device).view(2, -1, *[1] * (image.dim() - 1))
        factor = 1 + self.contrast * (2 * factor - 1)

        def brighter(values: Tensor) -> Tensor:
            changed = super(JitterAugment, self)._change_intensities(
                image.index_copy(0, chosen, values), chosen, intensities, seed
            )
            return self._cut_down(changed.index_select(0, chosen))

        def contrasted(values: Tensor) -> Tensor:
            mean = values.flatten(1).mean(1).view_as(factor)
            if self.levels is not None:
                mean = (mean * (self.levels - 1) + 0.5).floor() / (self.levels - 1)
            return self._cut_down(mean + factor * (values - mean))

        part = self._cut_down(image.index_select(0, chosen))
        changed = torch.where(order < 0.5, contrasted(brighter(part)), brighter(contrasted(part)))
        return image.index_copy(0, chosen, changed)

    def _cut_down(self, values: Tensor) -> Tensor:
        """In 0..1, and of the levels that there are."""
        values = values.clamp(0, 1)
        return values if self.levels is None else (values * (self.levels - 1) + ALMOST).floor() / (self.levels - 1)
