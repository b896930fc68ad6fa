# SPDX-License-Identifier: Apache-2.0
"""Training on labelled and unlabelled images at once: what a MONAI trainer needs besides its own parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wss_monai.engines.prepare_batch import PrepareTargets
from wss_monai.engines.two_views import STREAM
from wss_monai.losses.semi_supervised import SemiSupervisedLoss
from wss_monai.transforms.batch_augment import BatchAugment
from wss_monai.transforms.equivariant import RandEquivariantTransform, RandFlips

__all__ = ["PrepareSemiSupervised"]


class PrepareSemiSupervised(PrepareTargets):
    """As `PrepareTargets`, for batches of a `PairedLoader`: draws the map between the views of the unlabelled images.

    Args:
        loss: says which targets and views it needs.
        views: draws the map, flips and turns alone: what is shifted or scaled has no value beyond the frame, and both
            views would be compared there too; a function of the batch's seed.
        augment, channels_last, also: as there; labelled and unlabelled images are augmented alike.

    Raises:
        ValueError: views of another family.
    """

    def __init__(
        self,
        loss: SemiSupervisedLoss,
        views: RandFlips | RandEquivariantTransform,
        augment: BatchAugment | None = None,
        channels_last: bool = False,
        also: Sequence[str] = (),
    ) -> None:
        super().__init__(loss, augment, channels_last, also)
        if lossy := sorted(set(getattr(views, "families", ())) - {"flip", "turn"}):
            raise ValueError(
                f"views must move voxels onto voxels of the frame, which {lossy} do not: give RandFlips, or "
                "RandEquivariantTransform(family=['flip', 'turn'])."
            )
        self.views = views
        self.needs_second = loss.needs_second
        self.needs_unlabelled = loss.needs_unlabelled

    def __call__(  # type: ignore[override]
        self,
        batchdata: Mapping[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Any], tuple[()], dict[str, Any]]:
        """Images (n + m, C, *spatial), the labelled ones first, their targets, and what the inferer gets besides.

        Raises:
            ValueError: a batch without unlabelled images, where the loss needs them.
        """
        image, targets = super().__call__(batchdata, device, non_blocking, **kwargs)
        labelled = int(batchdata["labelled"]) if "labelled" in batchdata else len(image)
        others = len(image) - labelled
        if self.needs_unlabelled and not others:
            raise ValueError(
                "the batch holds no unlabelled images, which the loss needs: give the PairedLoader an unlabelled "
                "store, or train with --mode partial."
            )
        view = None
        if self.needs_second:
            view = self.views(others, tuple(image.shape[2:]), int(batchdata["draw"]) ^ STREAM)
        return image, {**targets, "view": view}, (), {"labelled": labelled, "view": view}
