# SPDX-License-Identifier: Apache-2.0
"""The cross-entropy of logits on the voxels that somebody drew, as a number of each case."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform

from wss_monai.functional import UNLABELLED
from wss_monai.functional.plain_tensor import plain_tensor

__all__ = ["PartialCrossEntropyd"]


class PartialCrossEntropyd(MapTransform):
    """Write the mean cross-entropy on drawn voxels, in nats, beside the logits of a case.

    Where a case has no weak label, or nothing is drawn, nothing is written.

    Args:
        keys: of the logits (K, *spatial), on the grid of the weak label.
        weak_label: key of the class indices (1, *spatial), 255 = not drawn.
        output_key: where the number goes.
        temperature: of the loss; the logits are multiplied by it.

    Raises:
        ValueError: logits and weak label have different grids.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        weak_label: str = "weak_label",
        output_key: str = "partial_ce",
        temperature: float = 1.0,
    ) -> None:
        super().__init__(keys)
        self.weak_label = weak_label
        self.output_key = output_key
        self.temperature = temperature

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the case with the number."""
        case = dict(data)
        if self.weak_label not in case:
            return case
        for key in self.key_iterator(case):
            logits, drawn = plain_tensor(case[key]), plain_tensor(case[self.weak_label])[0]
            if logits.shape[1:] != drawn.shape:
                raise ValueError(
                    f"case '{case.get('case', '')}': {key} has the grid {tuple(logits.shape[1:])} and "
                    f"{self.weak_label} {tuple(drawn.shape)}: bring the logits back to the image's grid first."
                )
            known = (drawn != UNLABELLED).to(logits.device)
            if bool(known.any()):
                chosen, target = logits[:, known].float().T, drawn.to(logits.device)[known].long()
                case[self.output_key] = F.cross_entropy(chosen * self.temperature, target).to("cpu", torch.float32)
        return case
