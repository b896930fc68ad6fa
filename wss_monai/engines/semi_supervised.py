# SPDX-License-Identifier: Apache-2.0
"""Training on labelled and unlabelled images at once: what a MONAI trainer needs besides its own parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from wss_monai.engines.prepare_batch import PrepareTargets
from wss_monai.engines.two_views import STREAM
from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.losses.semi_supervised import SemiSupervisedLoss
from wss_monai.transforms.batch_augment import BatchAugment
from wss_monai.transforms.equivariant import RandEquivariantTransform, RandFlips

__all__ = ["PrepareSemiSupervised", "SemiSupervisedInferer"]


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


class SemiSupervisedInferer(Inferer):
    """What the network says of labelled images and of the views of unlabelled ones that the loss needs.

    One call of the network for all of them, so that batch statistics are shared (see
    `wss_monai.networks.ClusterNetwork` for separate ones). Unlabelled images that the loss does not need are never
    seen. The teacher sees the unlabelled images as they are, without gradients.

    Args:
        loss: says what it needs.
        teacher: the averaged network, in evaluation mode; for losses with a teacher.

    Raises:
        ValueError: a loss with a teacher, but none given.
    """

    def __init__(self, loss: SemiSupervisedLoss, teacher: nn.Module | None = None) -> None:
        super().__init__()
        if loss.teacher and teacher is None:
            raise ValueError("the loss compares with a teacher: give the averaged network as teacher.")
        self.loss = loss
        self.teacher = teacher if loss.teacher else None

    def __call__(
        self,
        inputs: Tensor,
        network: Callable[..., Any],
        *args: Any,
        labelled: int | None = None,
        view: SpatialMap | None = None,
        **kwargs: Any,
    ) -> Any:
        """Outputs for ``inputs`` (n + m, C, *spatial), of which the first n = ``labelled`` are labelled.

        Returns:
            The network's logits where the loss needs nothing else, else a dictionary: "labelled" (n, K, *spatial), and
            as needed "first", "second" (of the images moved by ``view``), "teacher" (m, K, *spatial) and "clusters".
        """
        count = len(inputs) if labelled is None else labelled
        if not self.loss.needs_unlabelled:
            return network(inputs[:count], *args, **kwargs)
        others = inputs[count:]
        parts = [inputs[:count]]
        if self.loss.needs_first:
            parts.append(others)
        if self.loss.needs_second and view is not None:
            parts.append(view(others))
        counts = (count, len(others) * self.loss.needs_first, len(others) * self.loss.needs_second)
        output = network(torch.cat(parts), *args, parts=counts, view=view, **kwargs)
        if self.teacher is not None:
            with torch.no_grad():
                output["teacher"] = self.teacher(others)
        return output
