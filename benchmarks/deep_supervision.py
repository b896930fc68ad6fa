# SPDX-License-Identifier: Apache-2.0
"""The loss of a network that gives several predictions while it is trained."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from wss_monai.losses import WeightedSumLoss


class DeepSupervision(WeightedSumLoss):
    """The mean over predictions (B, heads, K, *spatial), each with half the weight of the one before it."""

    def forward(self, logits: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss; ``logits`` (B, K, *spatial) as ever."""
        if logits.dim() == max(value.dim() for value in target.values()):
            return super().forward(logits, target)
        heads = [super(DeepSupervision, self).forward(head, target) for head in reversed(logits.unbind(1))]
        weights = [0.5**n for n in reversed(range(len(heads)))]  # the last one, the network's own, leaves its parts
        return sum(w * head for w, head in zip(weights, heads, strict=True)) / sum(weights)
