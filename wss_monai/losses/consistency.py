# SPDX-License-Identifier: Apache-2.0
"""Unsupervised terms on predictions: agreement of a student with a teacher, and certainty."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wss_monai.functional.settings import ShownSettings
from wss_monai.functional.wide import wide
from wss_monai.losses.reduction import checked_reduction, reduced


class ConsistencyLoss(ShownSettings, nn.Module):
    """Distance of the student's softmax from the teacher's, which is a target: no gradient goes into it.

    "mse" is the squared difference, a mean over samples, voxels and classes too, so that four classes make it a fourth
    of the squared distance; "kl" is KL(teacher || student) in nats, a mean over samples and voxels. Computed in float32
    or wider, outside autocast. Source: Xie et al., NeurIPS 2020, eq. 1 (kl); Tarvainen and Valpola, NeurIPS 2017 (mse).

    Args:
        kind: "mse" or "kl".
        target_key: the key of the teacher's logits in a ``WeightedSumLoss``, whose temperature moves the student alone.
        reduction: "mean", as above; "sum"; or "none": (B, K, *spatial) of "mse", (B, *spatial) of "kl".

    Raises:
        ValueError: an unknown kind or reduction.
    """

    shown = ("kind",)
    uses_probs = False

    def __init__(self, kind: str = "mse", target_key: str = "teacher_logits", reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = checked_reduction(reduction)
        if kind not in ("mse", "kl"):
            raise ValueError(f"kind must be 'mse' or 'kl', got {kind!r}.")
        self.kind = kind
        self.target_keys = {"teacher_logits": target_key}

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Loss of two tensors (B, K, *spatial); ``probs``, the student's softmax, is not needed.

        Raises:
            ValueError: shapes that differ.
        """
        if student_logits.shape != teacher_logits.shape or student_logits.dim() < 2:
            raise ValueError(
                f"student_logits and teacher_logits must have one shape (B, K, *spatial), got "
                f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}."
            )
        with torch.autocast(student_logits.device.type, enabled=False):
            student, teacher = wide(student_logits), wide(teacher_logits.detach())
            if self.kind == "mse":
                return F.mse_loss(student.softmax(1), teacher.softmax(1).to(student), reduction=self.reduction)
            known, guess = teacher.log_softmax(1).to(student), student.log_softmax(1)
            return reduced((known.exp() * (known - guess)).sum(1), self.reduction)


class EntropyLoss(nn.Module):
    """Mean entropy of the softmax of a voxel, in nats, in float32 or wider outside autocast: the less, the surer.

    Source: Grandvalet and Bengio, NeurIPS 2004, eq. 4.

    Args:
        reduction: "mean" of the voxels; "sum"; or "none": (B, *spatial).
    """

    uses_probs = False

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = checked_reduction(reduction)
        self.target_keys: dict[str, str] = {}

    def forward(self, logits: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Loss of ``logits`` (B, K, *spatial), a scalar, see ``reduction``; ``probs`` is not needed.

        Raises:
            ValueError: logits without a class axis.
        """
        if logits.dim() < 2:
            raise ValueError(f"logits must be (B, K, *spatial), got {tuple(logits.shape)}.")
        with torch.autocast(logits.device.type, enabled=False):
            guess = wide(logits).log_softmax(1)
            return reduced(-(guess.exp() * guess).sum(1), self.reduction)
