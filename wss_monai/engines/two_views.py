# SPDX-License-Identifier: Apache-2.0
"""Training on two views of each image: the image, and the image moved by a map that the loss knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wss_monai.engines.prepare_batch import PrepareTargets
from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.losses import WeightedSumLoss
from wss_monai.transforms.batch_augment import BatchAugment
from wss_monai.transforms.equivariant import RandEquivariantTransform

__all__ = ["PrepareViews"]

STREAM = 0x5EED
"""Keeps the draw of the view apart from that of the augmentation, which has the same seed."""


class PrepareViews(PrepareTargets):
    """As `PrepareTargets`, with the map of the second view among the targets and for the inferer.

    Args:
        loss, augment, channels_last, also: as there.
        views: draws the map; a function of the batch's seed.
    """

    def __init__(
        self,
        loss: WeightedSumLoss,
        views: RandEquivariantTransform,
        augment: BatchAugment | None = None,
        channels_last: bool = False,
        also: Sequence[str] = (),
    ) -> None:
        super().__init__(loss, augment, channels_last, also)
        self.views = views

    def __call__(  # type: ignore[override]
        self,
        batchdata: Mapping[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Any], tuple[()], dict[str, SpatialMap]]:
        """Image (B, M, *spatial), targets, and what the inferer gets besides."""
        image, targets = super().__call__(batchdata, device, non_blocking, **kwargs)
        view = self.views(len(image), tuple(image.shape[2:]), int(batchdata["draw"]) ^ STREAM)
        return image, {**targets, "view": view}, (), {"view": view}
