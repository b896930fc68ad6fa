# SPDX-License-Identifier: Apache-2.0
"""Agreement with a teacher where the teacher is certain."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wss_monai.functional.settings import ShownSettings
from wss_monai.functional.wide import wide
from wss_monai.losses.term import probabilities

__all__ = ["UncertainTeacherLoss"]


class UncertainTeacherLoss(ShownSettings, nn.Module):
    """Squared distance of the softmax from a teacher's, where the teacher's uncertainty is below a threshold.

    The uncertainty of a voxel is the entropy, in nats, of the mean of the teacher's softmax over several passes with
    noise in the image. The threshold rises from ``first`` to ``last`` times log 2 with the share of the term's weight
    (``WeightRamp`` tells it, see ``set_share``). The loss is the sum of the squared differences over the certain voxels
    and all classes, divided by twice the number of these voxels; 0 where there is none.

    Sources: uncertainty-aware mean teacher, Yu et al., MICCAI 2019, eqs. 3 and 4; for scribbles Liu et al. (USTM),
    Pattern Recognition 122, 2022.

    Args:
        first, last: threshold at first and in the end, in units of log 2.

    Attributes:
        logged: ``certain_share``, the share of certain voxels in the last call.

    Raises:
        ValueError: negative thresholds.
    """

    shown = ("first", "last")
    uses_probs = True
    target_keys = {"teacher": "teacher", "average": "teacher_average"}

    def __init__(self, first: float = 0.75, last: float = 1.0) -> None:
        super().__init__()
        if not (first >= 0 and last >= 0):
            raise ValueError(f"first and last must be at least 0, got {first} and {last}.")
        self.first, self.last = first, last
        self.share = 1.0
        self.logged: dict[str, Tensor] = {}

    def set_share(self, share: float) -> None:
        """Tell which share of its full weight the term has, from 0 to 1."""
        self.share = share

    @property
    def threshold(self) -> float:
        """Entropy in nats up to which the teacher counts as certain."""
        return (self.first + (self.last - self.first) * self.share) * math.log(2)

    def forward(self, logits: Tensor, teacher: Tensor, average: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Scalar loss of ``logits`` (B, K, *spatial); 0 where the teacher was not asked.

        Args:
            teacher: its softmax (B, K, *spatial) for one image with noise; empty: not asked.
            average: mean of its softmax over passes with noise, of the same shape.
            probs: softmax of the logits.
        """
        if not teacher.numel():
            self.logged = {"certain_share": logits.new_zeros(())}
            return logits.sum() * 0.0 + 0.0
        p = probabilities(logits, probs)
        with torch.no_grad():
            mean = wide(average)
            certain = (-(mean * (mean + 1e-6).log()).sum(1) < self.threshold).to(p)
            self.logged = {"certain_share": certain.mean()}
        distance = ((p - wide(teacher).detach()) ** 2).sum(1)
        return (certain * distance).sum() / (2 * certain.sum()).clamp(min=1e-6)
