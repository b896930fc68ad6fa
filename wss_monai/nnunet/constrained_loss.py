# SPDX-License-Identifier: Apache-2.0
"""Terms on sizes and pseudo-labels beside the loss of nnU-Net, on its output at full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wss_monai.functional import UNLABELLED
from wss_monai.functional.descriptors import Size
from wss_monai.functional.transfer import send
from wss_monai.losses import (
    ConstraintLoss,
    MixedLabelLoss,
    WeightedSumLoss,
    drawn_classes,
    size_bounds,
)
from wss_monai.nnunet.constraints_file import Constraints

__all__ = ["ConstrainedLoss", "whole_classes"]

NEAR = 0.2
"""Part of an axis at either end in which a drawn voxel may belong to an organ that the frame has cut."""


class ConstrainedLoss(nn.Module):
    """nnU-Net's loss, on all its outputs, plus terms on the one at full resolution.

    The upper side of bounds on sizes holds in every patch. The lower one holds for a class that is drawn in it far from
    its faces (``whole_classes``), and only where a patch shows a whole image.

    Args:
        base: nnU-Net's loss, of outputs and targets or of one of each.
        constraints: what is known.
        class_names: background first, in the order of the logits.
        spacing: of the patches in mm: two numbers for slices, three for volumes.
        ignore_label: nnU-Net's, of voxels that are not labelled; None: it has none.
        whole: patches show whole images.

    Attributes:
        terms: the weighted sum of ours: "size" and "pseudo", as far as there are any.
        zoom: by which factors augmentation may have changed a size; see `widen`.
        teacher: probabilities (B, K, *spatial) of the averaged network for the next batch, set by the trainer; None: it
            is not asked.
        shift: (K,) of the log-probabilities of pseudo-labels.
        sample: (B,) numbers of the cases of the next batch, for enforcers with multipliers of each, set by the trainer;
            None: they are no training cases, and have the multipliers that every case starts with.
        cases: number of training cases.
    """

    def __init__(
        self,
        base: nn.Module,
        constraints: Constraints,
        class_names: Sequence[str],
        spacing: Sequence[float],
        ignore_label: int | None,
        whole: bool,
    ) -> None:
        super().__init__()
        self.base = base
        self.class_names, self.ignore_label, self.whole = list(class_names), ignore_label, whole
        self.spacing = [float(step) for step in spacing]
        self.unit = "mm2" if len(self.spacing) == 2 else "ml"
        self.values = dict(constraints.size_bounds if len(self.spacing) == 2 else constraints.volume_bounds)
        self.zoom = (1.0, 1.0)
        self.teacher: Tensor | None = None
        self.shift = torch.zeros(len(self.class_names))
        self.sample: Tensor | None = None
        self.cases = 0
        terms: dict[str, Any] = {}
        if self.values:
            terms["size"] = [ConstraintLoss(Size(), constraints.make_penalty()), constraints.weight_of_size]
        if constraints.weight_of_pseudo:
            terms["pseudo"] = [MixedLabelLoss(pieces=constraints.pseudo_pieces), constraints.weight_of_pseudo]
        self.terms = WeightedSumLoss(terms) if terms else None
        self.widen(1.0, 1.0)
        if self.values:
            self._check_room(terms["size"][0])

    def _check_room(self, loss: ConstraintLoss) -> None:
        """Look once, so that no batch has to be waited for on a GPU."""
        wrong = loss.no_room(self.upper_and_lower)[0, :, 0]
        if bool(wrong.any()):
            name = self.class_names[int(wrong.nonzero()[0])]
            raise ValueError(
                f"bounds of '{name}' leave no room: {list(self.values[name])}; a log-barrier needs lower < upper."
            )
        loss.checked_classes = len(self.class_names)

    def widen(self, least: float, most: float) -> None:
        """Let bounds hold for sizes that augmentation multiplied by anything between these factors."""
        self.zoom = (min(least, 1.0), max(most, 1.0))
        everything = torch.ones(1, len(self.class_names), dtype=torch.bool)
        words: dict[str, Any] = {"unit": self.unit, "spacing": self.spacing}
        self.upper_and_lower = size_bounds(self.bounds(), self.class_names, everything, **words)
        self.upper = size_bounds(self.bounds(), self.class_names, ~everything, **words)

    def bounds(self) -> dict[str, list[float | None]]:
        """The intervals of a batch, in mm2 or ml: as given, and widened."""
        pairs = {name: tuple(value) for name, value in self.values.items()}
        return {
            name: [None if side is None else side * by for side, by in zip(pair, self.zoom, strict=True)]
            for name, pair in pairs.items()
        }

    def forward(self, output: Any, target: Any) -> Tensor:
        """Scalar loss of outputs (B, K, *spatial) on index maps (B, 1, *spatial), or of one of each."""
        value: Tensor = self.base(output, target)
        if self.terms is None:
            return value
        logits, index = (output[0], target[0]) if isinstance(output, (list, tuple)) else (output, target)
        return value + self.terms(logits, self.targets(logits, index))

    @torch.no_grad()
    def targets(self, logits: Tensor, index: Tensor) -> dict[str, Tensor]:
        """What our terms read, for logits (B, K, *spatial) and nnU-Net's index map (B, 1, *spatial)."""
        unknown = index < 0
        if self.ignore_label is not None:
            unknown = unknown | (index == self.ignore_label)
        drawn = torch.where(unknown, UNLABELLED, index).to(torch.uint8)
        count = len(self.class_names)
        present = whole_classes(drawn, count) if self.whole else torch.zeros_like(drawn_classes(drawn, count))
        if self.upper.device != logits.device:  # once
            self.upper, self.upper_and_lower = (each.to(logits.device) for each in (self.upper, self.upper_and_lower))
        sample = torch.full((len(logits),), self.cases) if self.sample is None else self.sample
        teacher = logits.new_zeros(0) if self.teacher is None else self.teacher
        return {
            "weak_label": drawn,
            "bounds_size": torch.where(present[..., None, None], self.upper_and_lower, self.upper),
            "teacher": teacher,
            "student_share": torch.rand(()).to(logits.device),
            "sample": send(sample, logits.device),
            "class_shift": self.shift.to(logits.device),
        }


def whole_classes(index: Tensor, num_classes: int) -> Tensor:
    """Which classes are drawn in a sample and, by the place of the drawing, not cut by the frame.

    A class may be cut where one of its drawn voxels comes nearer to a face than a fifth of the axis, or than half of
    what is drawn of the class along the axis.

    Args:
        index: (B, 1, *spatial).
        num_classes: K.

    Returns:
        Boolean (B, K).
    """
    each = torch.arange(num_classes, device=index.device).reshape(1, -1, *[1] * (index.dim() - 2))
    masks = index == each
    whole = masks.flatten(2).any(2)
    for axis in range(2, index.dim()):
        others = [other for other in range(2, index.dim()) if other != axis]
        lines = masks.amax(others) if others else masks  # (B, K, n)
        length = lines.shape[2]
        first = lines.to(torch.uint8).argmax(2)
        last = length - 1 - lines.flip(2).to(torch.uint8).argmax(2)
        room = torch.maximum((last - first + 1) / 2, torch.full_like(first, NEAR * length, dtype=torch.float32))
        whole = whole & (first >= room) & (length - 1 - last >= room)
    return whole
