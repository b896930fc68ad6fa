# SPDX-License-Identifier: Apache-2.0
"""The augmentation of published code that shifts each modality of an image by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.functional.warps import about_centre
from wss_monai.transforms.batch_augment import MAPS, AugmentPlan, BatchAugment

__all__ = ["ChannelShifts"]

STREAM = 0x5C1F
"""Tells the draw of the shifts from what else is drawn of a seed."""


class ChannelShifts(BatchAugment):
    """Shift each channel of each image by whole voxels, independently, as the released code of Patel and Dolz has it.

    The shift along each axis is uniform in -translation .. translation of the extent and rounded; 0 comes in from
    outside. Channels that lay on each other then no longer do, which the method (MedIA 77:102374, 2022) takes as given:
    for comparison with it alone. Tags stay as they are. There is no matrix that maps could follow, so that a batch must
    not hold any.

    Args:
        num_classes: K.
        translation: largest shift as a fraction of the extent.

    Raises:
        ValueError: a fraction outside of 0..1; in a call also a batch with maps of labels.
    """

    def __init__(self, num_classes: int, translation: float = 0.1) -> None:
        super().__init__(
            num_classes, (), None, 0.0, 0.0, translation, 0.0, 0.0, 0.0, 0.0, intensity_probability=0.0, keep_tags=True
        )
        if not 0 <= translation <= 1:
            raise ValueError(f"translation must be between 0 and 1, got {translation}.")

    def __repr__(self) -> str:
        """Everything that a draw depends on, for the record of a run."""
        return f"ChannelShifts(num_classes={self.num_classes}, translation={self.translation})"

    def apply(self, batch: Mapping[str, Any], plan: AugmentPlan) -> dict[str, Any]:
        """A copy of the batch with the channels of the image shifted."""
        if maps := [key for key in MAPS if key in batch]:
            raise ValueError(
                f"ChannelShifts moves the channels of an image apart, so that {maps} cannot follow: take BatchAugment."
            )
        image = batch["image"]
        count, shape = image.shape[0] * image.shape[1], tuple(image.shape[2:])
        generator = torch.Generator().manual_seed(plan.seed ^ STREAM)
        drawn = 2 * torch.rand(count, len(shape), generator=generator, dtype=torch.float64) - 1
        offset = (drawn * self.translation * torch.tensor(shape)).round()
        linear = torch.eye(len(shape), dtype=torch.float64).repeat(count, 1, 1)
        shift = SpatialMap(about_centre(linear, offset, shape), shape)
        return {**batch, "image": shift(image.reshape(count, 1, *shape)).view_as(image)}
