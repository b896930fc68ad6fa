# SPDX-License-Identifier: Apache-2.0
"""The augmentation of published code that works on pictures of 8 bit: nearest neighbours, brightness and contrast."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wss_monai.functional.transfer import send
from wss_monai.transforms.batch_augment import BatchAugment

__all__ = ["JitterAugment"]

STREAM = 0x6A17
"""Tells the draw of the contrasts from that of the noise."""


class JitterAugment(BatchAugment):
    """``BatchAugment`` as the released code of Peng et al. (MELBA 2021:009) has it.

    Images are resampled to the nearest voxel, as label maps are. After the gain (brightness) the contrast changes: of a
    sample with the mean m every value x becomes m + f (x - m), f drawn from 1 - contrast .. 1 + contrast. What leaves
    0..1 is clipped, as in a picture of 8 bit.

    Args:
        num_classes: K.
        contrast: largest relative change of the contrast, from 0 to 1.
        augment: all other arguments of ``BatchAugment``.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(self, num_classes: int, contrast: float = 0.5, **augment: Any) -> None:
        super().__init__(num_classes, **augment)
        if not 0 <= contrast <= 1:
            raise ValueError(f"contrast must be between 0 and 1, got {contrast}.")
        self.contrast = contrast

    def __repr__(self) -> str:
        """Everything that a draw depends on, for the record of a run."""
        return super().__repr__().replace("BatchAugment(", "JitterAugment(", 1)

    @staticmethod
    def warp(image: Tensor, grid: Tensor) -> Tensor:
        """Resample (B, C, *spatial) to the nearest voxel; 0 outside."""
        return F.grid_sample(image, grid.to(image.dtype), mode="nearest", padding_mode="zeros", align_corners=True)

    def _change_intensities(self, image: Tensor, chosen: Tensor, intensities: Tensor, seed: int) -> Tensor:
        image = super()._change_intensities(image, chosen, intensities, seed)
        if not len(chosen):
            return image
        drawn = torch.rand(len(chosen), generator=torch.Generator().manual_seed(seed ^ STREAM))
        factor = send((1 + self.contrast * (2 * drawn - 1)).to(image.dtype), image.device)
        factor = factor.view(-1, *[1] * (image.dim() - 1))
        part = image.index_select(0, chosen).clamp(0, 1)
        mean = part.flatten(1).mean(1).view_as(factor)
        return image.index_copy(0, chosen, (mean + factor * (part - mean)).clamp(0, 1))
