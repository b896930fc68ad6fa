# SPDX-License-Identifier: Apache-2.0
"""Supervision of a classifier by image tags."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from wss_monai.functional.wide import wide


class TagLoss(nn.Module):
    """Binary cross-entropy of the foreground classes, averaged over the known tags of the batch.

    Unknown tags (-1) neither cost nor give a gradient; a batch without any known tag costs 0. Background, column 0 of
    the tags, is no tag.

    Args:
        target_key: the key of the target dictionary that holds the tags, in a ``WeightedSumLoss``.
    """

    uses_probs = False

    def __init__(self, target_key: str = "slice_tags") -> None:
        super().__init__()
        self.target_keys = {"tags": target_key}

    def forward(self, logits: Tensor, tags: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Scalar loss of ``logits`` (B, K - 1) on ``tags`` (B, K) in {1 present, 0 absent, -1 unknown}.

        Raises:
            ValueError: shapes that do not fit, or a logit a class, background included.
        """
        if logits.dim() != 2 or tags.shape != (len(logits), logits.shape[1] + 1):
            raise ValueError(
                f"tags (B, K) need one logit (B, K - 1) for each class but the background; got logits "
                f"{tuple(logits.shape)} and tags {tuple(tags.shape)}."
            )
        logits = wide(logits)
        known = tags[:, 1:] >= 0
        cost = F.binary_cross_entropy_with_logits(logits, (tags[:, 1:] == 1).to(logits), reduction="none")
        return (cost * known).sum() / known.sum().clamp(min=1)
