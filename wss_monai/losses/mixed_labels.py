# SPDX-License-Identifier: Apache-2.0
"""Supervision by a pseudo-label that student and teacher make together in every step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from wss_monai.functional import UNLABELLED
from wss_monai.functional.mixed_classes import mixed_classes, possible_classes
from wss_monai.functional.settings import check_flags
from wss_monai.functional.touched_pieces import PIECES, untouched
from wss_monai.functional.transfer import send
from wss_monai.losses.term import probabilities

__all__ = ["MixedLabelLoss"]


class MixedLabelLoss(nn.Module):
    """A loss on the most probable class of a random mixture of the student's and the teacher's probabilities.

    The pseudo-label is the argmax of b x student + (1 - b) x teacher, b being drawn anew for each batch; no gradient
    passes through it. What is known of the sample corrects it, in this order:

    1. A class that a tag says is absent is not chosen, and no class outside of its boxes.
    2. A piece of the foreground without a foreground drawing in it becomes background, see ``pieces``, as far as it
       shows classes that are drawn elsewhere in the sample. Boxes count as drawn.
    3. Drawn voxels are as drawn.

    So a class of which nothing is known (tag -1, not drawn) stays as it is predicted, and in a sample without any
    drawing (an unlabelled slice, or one whose strokes left the frame) the mixture alone teaches. A densely labelled
    sample is its own pseudo-label.

    Sources: dynamically mixed pseudo-labels, Luo et al., MICCAI 2022; mean teacher, Tarvainen and Valpola, NeurIPS
    2017. The rules about drawings are ours.

    Without ``corrected`` the pseudo-label is the mixture's most probable class and nothing else, as published.

    On a GPU the host waits once for the labels and the drawings, of which it finds the pieces (``pieces`` "all": not).

    Args:
        loss: of the logits on an index map (B, 1, *spatial) of classes, MONAI's or one of this package; None: MONAI's
            ``DiceCELoss`` with the softmax, its Dice that of each foreground class in the batch as a whole.
        pieces: "any": each piece that is drawn in stays; "one": only that with most drawn voxels; "all": all stay.
        corrected: apply the three rules.

    Attributes:
        logged: name -> scalar of the last call: ``pseudo_removed``, the fraction of voxels that rule 2 made background.

    Raises:
        ValueError: an unknown ``pieces``.
    """

    uses_probs = True
    target_keys = {
        "teacher": "teacher",
        "share": "student_share",
        "shift": "class_shift?",
        "drawn": "weak_label",
        "of_slice": "slice_tags?",
        "of_volume": "tags?",
        "boxes": "boxes?",
        "ready": "labels_{term}?",
    }

    def __init__(self, loss: nn.Module | None = None, pieces: str = "any", corrected: bool = True) -> None:
        super().__init__()
        check_flags(corrected=corrected)
        if pieces not in PIECES:
            raise ValueError(f"pieces must be one of {list(PIECES)}, got {pieces!r}.")
        self.loss = dice_ce() if loss is None else loss
        self.pieces = pieces
        self.corrected = corrected
        self.logged: dict[str, Tensor] = {}

    def forward(
        self,
        logits: Tensor,
        teacher: Tensor,
        share: Tensor,
        drawn: Tensor,
        shift: Tensor | None = None,
        of_slice: Tensor | None = None,
        of_volume: Tensor | None = None,
        boxes: Tensor | None = None,
        ready: Tensor | None = None,
        *,
        probs: Tensor | None = None,
    ) -> Tensor:
        """Scalar loss of ``logits`` (B, K, *spatial); 0 where there is no teacher yet.

        Args:
            teacher: probabilities (B, K, *spatial), or an empty tensor: not asked.
            share: b, a scalar.
            drawn: (B, 1, *spatial), 255 = unlabelled.
            shift: (K,) of the mixture's log-probabilities.
            of_slice, of_volume: tags (B, K) of slices or of patches.
            boxes: (B, K, *spatial), numbered.
            ready: pseudo-labels (B, 1, *spatial) that ``labels`` made before, see ``DualDecoderLoss``; None: they are
                made here.
            probs: softmax of the logits.
        """
        if ready is None and not teacher.numel():
            self.logged = {"pseudo_removed": logits.new_zeros(())}
            return logits.sum() * 0.0 + 0.0  # no negative zero in logs
        soft = probabilities(logits, probs)
        tags = of_volume if of_slice is None else of_slice
        target = self.labels(soft.detach(), teacher, share, drawn, shift, tags, boxes) if ready is None else ready
        for module in self.loss.modules():
            if hasattr(module, "checked_classes"):  # these labels are classes by construction
                module.checked_classes = logits.shape[1]  # type: ignore[assignment]
        value: Tensor = self.loss(logits, target, **({"probs": soft} if hasattr(self.loss, "target_keys") else {}))
        return value.mean()

    @torch.no_grad()
    def labels(
        self,
        student: Tensor,
        teacher: Tensor,
        share: Tensor | float,
        drawn: Tensor,
        shift: Tensor | None = None,
        tags: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> Tensor:
        """Pseudo-labels (B, 1, *spatial), uint8, of probabilities (B, K, *spatial); the rest as in a call."""
        if not self.corrected:
            self.logged = {"pseudo_removed": torch.zeros((), device=student.device)}
            return mixed_classes(student, teacher, share, shift).to(torch.uint8)[:, None]
        possible = possible_classes(tags, boxes, student)
        index = mixed_classes(student, teacher, share, shift, possible).to(torch.uint8)
        index = torch.where(drawn[:, 0] != UNLABELLED, drawn[:, 0].to(torch.uint8), index)
        removed = torch.zeros((), device=index.device)
        if self.pieces != "all":
            marks = drawn[:, 0].to(torch.uint8)
            if boxes is not None:
                marks = _with_boxes(marks, boxes)
            both = torch.stack((index, marks)).cpu().numpy()
            away = np.stack([untouched(label, mark, self.pieces) for label, mark in zip(*both, strict=True)])
            gone = send(torch.from_numpy(away), index.device) & (drawn[:, 0] == UNLABELLED)
            index = index.masked_fill(gone, 0)
            removed = gone.float().mean()
        self.logged = {"pseudo_removed": removed}
        return index[:, None]


def dice_ce() -> nn.Module:
    """The default loss on pseudo-labels; in a batch of slices most classes of a slice are small or missing."""
    from monai.losses import DiceCELoss  # here, so that the other losses need torch alone

    return DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1.0, smooth_dr=1.0
    )


def _with_boxes(drawn: Tensor, boxes: Tensor) -> Tensor:
    """Drawings (B, *spatial) with the boxes of foreground classes (B, K, *spatial) in the places without any."""
    inside = (boxes > 0) & (boxes != UNLABELLED)
    inside[:, 0] = False
    return torch.where((drawn == UNLABELLED) & inside.any(1), inside.to(torch.uint8).argmax(1).to(drawn), drawn)
