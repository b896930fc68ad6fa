# SPDX-License-Identifier: Apache-2.0
"""Labels of training slices from a running average of what the network said of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from wss_monai.functional import UNLABELLED
from wss_monai.functional.transfer import send
from wss_monai.losses import WeightedSumLoss

__all__ = ["AveragedPredictions", "UpdatePredictions"]

KEY = "averaged_label"


class AveragedPredictions:
    """Keep average = a x prediction + (1 - a) x average of the softmax of each training slice, and label by it.

    At the start of each epoch but the first the network predicts all slices as they are stored, not augmented, in
    evaluation mode. The label of an undrawn voxel is the class whose average is above ``threshold``; others and drawn
    voxels, which have a term of their own, are 255. The average starts at 0, so that labels come after some epochs:
    with a = 0.2 and a threshold of 0.8, after eight. The labels are a map of the store, "averaged_label", which is
    moved with the image; a term with that ``target_key`` learns from it. The average is part of a checkpoint: a
    resumed run goes on as the uninterrupted one.

    Source: Scribble2Label, Lee and Jeong, MICCAI 2020, eqs. 2 and 3; published a = 0.2, threshold 0.8, weight 0.5.

    Args:
        network: which is trained.
        loss: one of whose terms reads "averaged_label".
        loader: whose store has the slices (``SliceStore``).
        num_classes: K.
        share: a, above 0 and at most 1.
        threshold: of the average, from 0 to less than 1.
        batch_size: slices that are predicted at a time.

    Attributes:
        average: (N, K, H, W), float16, on the host; None before the first prediction.
        logged: ``averaged_share``, the share of voxels with such a label.

    Raises:
        ValueError: numbers out of range, or no term that reads the labels; when training starts, a store of patches.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: WeightedSumLoss,
        loader: Any,
        num_classes: int,
        share: float = 0.2,
        threshold: float = 0.8,
        batch_size: int = 16,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}.")
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be at least 0 and less than 1, got {threshold}.")
        if KEY not in loss.target_keys():
            raise ValueError(f"no term of the loss reads '{KEY}': choose the mode that learns from averages.")
        self.network, self.loss, self.loader = network, loss, loader
        self.num_classes, self.share, self.threshold, self.batch_size = num_classes, share, threshold, batch_size
        self.average: Tensor | None = None
        self.logged: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """The average of each slice; empty before the first."""
        return {} if self.average is None else {"average": self.average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.average = state.get("average")

    def update(self, epoch: int, device: torch.device | str | None = None) -> None:
        """Bring the average up to date, but in epoch 1, and the labels in the store."""
        store = self.loader.store
        if not hasattr(store, "tensors"):
            raise ValueError(
                "averages of predictions need slices, not random patches of volumes: train in 2D, or use --mode pseudo."
            )
        images = store.tensors["image"]
        if KEY not in store.tensors:
            empty = torch.full((len(images), 1, *images.shape[2:]), UNLABELLED, dtype=torch.uint8, device=images.device)
            store.tensors[KEY] = empty
        if epoch > 1:
            self._predict(images, device)
            store.tensors[KEY] = send(self.labels(store.tensors.get("weak_label")), images.device)
        self.logged = {"averaged_share": (store.tensors[KEY] != UNLABELLED).float().mean()}

    def _predict(self, images: Tensor, device: torch.device | str | None) -> None:
        """One more prediction of all slices into the average."""
        if self.average is None:
            self.average = torch.zeros(len(images), self.num_classes, *images.shape[2:], dtype=torch.float16)
        with eval_mode(self.network):
            for start in range(0, len(images), self.batch_size):
                part = slice(start, start + self.batch_size)
                said = torch.softmax(self.network(send(images[part], device)).float(), 1).cpu()
                self.average[part] = torch.lerp(self.average[part].float(), said, self.share).half()

    def labels(self, drawn: Tensor | None = None) -> Tensor:
        """Labels (N, 1, H, W), uint8, of the averages; 255 where none is sure or where something is drawn."""
        if self.average is None:
            raise ValueError("nothing was predicted so far.")
        sure, index = self.average.max(1, keepdim=True)
        index = torch.where(sure > self.threshold, index, UNLABELLED).to(torch.uint8)
        return index if drawn is None else torch.where(drawn.cpu() == UNLABELLED, index, UNLABELLED).to(torch.uint8)


class UpdatePredictions:
    """Bring an average of predictions up to date at the start of each epoch.

    Args:
        average: anything with ``update(epoch, device)``.
    """

    def __init__(self, average: AveragedPredictions) -> None:
        self.average = average

    def attach(self, engine: Engine) -> None:
        """Act at the start of the epochs of ``engine``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Predict and label."""
        state: Any = engine.state
        self.average.update(state.epoch, state.device)
