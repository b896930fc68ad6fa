# SPDX-License-Identifier: Apache-2.0
"""From a batch of the loader to what the network and the loss get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.engines.utils import PrepareBatch
from torch import Tensor

from wss_monai.functional.transfer import send
from wss_monai.losses import WeightedSumLoss
from wss_monai.transforms.batch_augment import TAGS, BatchAugment


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
        """Image (B, C, *spatial) and the dictionary of targets.

        What is small (geometry, bounds) is settled on the host before the copies, of which none is waited for.
        """
        wanted = {"image", "spacing", "weak_label", "group", *self.keys}
        batch = {key: value for key, value in batchdata.items() if key in wanted}
        plan = None
        if self.augment is not None:
            plan = self.augment.plan(batch, int(batchdata["draw"]))
            before = batch["spacing"]
            batch |= {"spacing": send(plan.spacing, before.device), "spacing_before": before}
            batch |= {"matrix": plan.matrix, "cut": plan.cut}
            for key, descriptor in self.descriptors.items():
                where = batch[key].device
                matrix, cut, after = (send(t, where) for t in (plan.matrix, plan.cut, plan.spacing))
                batch[key] = descriptor.move(batch[key], matrix, cut, (send(before, where), after))
        needed = {"image", *self.keys}
        if self.augment is not None and needed & set(TAGS):
            needed.add("weak_label")  # says what is left in the frame
        batch = {
            key: send(value, device, **(kwargs if key == "image" else {}))
            for key, value in batch.items()
            if key in needed
        }
        if self.augment is not None and plan is not None:
            batch = self.augment.apply(batch, plan)
        image = batch["image"]  # may be a target too: the image that a boundary follows
        if self.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        return image, {key: value for key, value in batch.items() if key in self.keys}
