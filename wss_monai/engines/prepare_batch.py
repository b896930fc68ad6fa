# SPDX-License-Identifier: Apache-2.0
"""From a batch of the loader to what the network and the loss get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.engines.utils import PrepareBatch
from torch import Tensor

from wss_monai.losses import WeightedSumLoss
from wss_monai.transforms.batch_augment import BatchAugment


class PrepareTargets(PrepareBatch):
    """Move a batch to the device, augment it there, and move the bounds along.

    Args:
        loss: says which target keys it wants, and which descriptor each ``bounds_<term>`` belongs to.
        augment: ``BatchAugment``; None = no augmentation.
        channels_last: give the network 2D images in channels-last memory format.
        also: further keys of the batch that handlers want among the targets.
    """

    def __init__(
        self,
        loss: WeightedSumLoss,
        augment: BatchAugment | None = None,
        channels_last: bool = False,
        also: Sequence[str] = (),
    ) -> None:
        self.keys = {*loss.target_keys(), *also}
        self.descriptors = loss.descriptors()
        self.augment = augment
        self.channels_last = channels_last

    def __call__(
        self,
        batchdata: Mapping[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Image (B, C, *spatial) and the dictionary of targets."""
        wanted = {"image", "spacing", "weak_label", "group", *self.keys}
        batch = {
            key: value.to(device=device, non_blocking=non_blocking, **(kwargs if key == "image" else {}))
            for key, value in batchdata.items()
            if key in wanted
        }
        if self.augment is not None:
            batch = self.augment(batch, int(batchdata["draw"]))
            for key, descriptor in self.descriptors.items():
                spacing = (batch["spacing_before"], batch["spacing"])
                batch[key] = descriptor.move(batch[key], batch["matrix"], batch["cut"], spacing)
        image = batch["image"]  # may be a target too: the image that a boundary follows
        if self.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        return image, {key: value for key, value in batch.items() if key in self.keys}
