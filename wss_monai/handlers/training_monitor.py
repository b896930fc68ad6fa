# SPDX-License-Identifier: Apache-2.0
"""How the training images themselves are segmented while the network learns; for the log alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.hard_classes import hard_classes
from wss_monai.handlers.batch_output import batch_output


class TrainingMonitor:
    """Dice and size difference of each training batch against its dense label, which no loss needs to read.

    Give it to ``EpochLog(also=...)``, and let ``PrepareTargets(also=["label"])`` carry the label. Both are taken on
    the hard prediction, before the step and with augmentation, a mean over samples and foreground classes; voxels that
    the label does not know count neither way. A batch without any known voxel leaves the last values.

    Args:
        class_names: background first.
        key: the dense label's key.

    Attributes:
        logged: ``train_dice`` (both empty: 1), ``size_difference`` (predicted - true, in voxels of the tensor) and
            ``size_difference_abs``, of the last batch.
    """

    def __init__(self, class_names: Sequence[str], key: str = "label") -> None:
        self.classes = len(class_names)
        self.key = key
        self.logged: dict[str, Tensor] = {}

    def attach(self, engine: Engine) -> None:
        """Follow the trainer ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Compare prediction and label of the iteration."""
        output = batch_output(engine)
        self.update(output["pred"].detach(), output["label"][self.key])

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Take logits (B, K, *spatial) and their dense label (B, 1, *spatial), 255 = unknown."""
        truth = label[:, 0]
        known = truth != UNLABELLED
        index = torch.arange(1, self.classes, device=logits.device).view(1, -1, *[1] * (truth.dim() - 1))
        predicted = ((hard_classes(logits).unsqueeze(1) == index) & known.unsqueeze(1)).flatten(2)
        true = (truth.unsqueeze(1) == index).flatten(2)
        overlap, sizes = (predicted & true).sum(-1), (predicted.sum(-1), true.sum(-1))  # (B, K - 1)
        total = sizes[0] + sizes[1]
        dice = torch.where(total > 0, 2 * overlap / total.clamp(min=1), 1.0).mean(1)
        difference = (sizes[0] - sizes[1]).float()
        counts = known.flatten(1).any(1)
        share = counts / counts.sum().clamp(min=1)
        values = {
            "train_dice": (dice * share).sum(),
            "size_difference": (difference.mean(1) * share).sum(),
            "size_difference_abs": (difference.abs().mean(1) * share).sum(),
        }
        there = counts.any()
        self.logged = {name: torch.where(there, v, self.logged.get(name, v)) for name, v in values.items()}
