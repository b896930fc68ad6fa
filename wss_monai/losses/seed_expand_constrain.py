# SPDX-License-Identifier: Apache-2.0
"""Seed, Expand and Constrain: three losses that turn sparse cues and image tags into whole segmentations.

Source: Kolesnikov and Lampert, ECCV 2016 (arXiv 1603.06098), eq. 2 to 5, and the code that was published with it. All
three act on f = (p + floor) / (1 + K floor), p the softmax of the K logits: the floor is added and f still sums to 1,
so that every logarithm and every gradient is finite. Their published weights are 1, 1, 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from wss_monai.functional import UNLABELLED
from wss_monai.functional.class_values import check_tags
from wss_monai.functional.crf import dense_crf
from wss_monai.functional.cue_maps import block_mean, cues_on_grid, image_on_grid, mm_steps
from wss_monai.functional.rank_pooling import PUBLISHED_VOXELS, decays_of, rank_pooling, rescale_decay
from wss_monai.functional.settings import ShownSettings, as_list, check_flags, check_positive, per_axis
from wss_monai.functional.wide import wide
from wss_monai.losses.partial import as_index_map
from wss_monai.losses.term import probabilities


class SeedingLoss(ShownSettings, nn.Module):
    """Cross-entropy at the cues: the mean over the cues of each image, then over the images that have any.

    An image without cues counts nothing; a batch without any costs 0 with zero gradient.

    Args:
        balanced: the mean over the foreground cues plus the mean over the background cues of each image (Huang et al.,
            DSRG, CVPR 2018, eq. 1) instead of one mean over all cues as published; a part without cues adds nothing.
        floor: added to every probability before it is renormalised.
        target_key: key of the cues in a ``WeightedSumLoss``.

    Raises:
        ValueError: ``balanced`` that is no truth value, a floor that is not positive.
    """

    shown = ("balanced", "floor")
    uses_probs = True
    checked_classes = 0

    def __init__(self, balanced: bool = False, floor: float = 1e-4, target_key: str = "weak_label") -> None:
        super().__init__()
        check_flags(balanced=balanced)
        check_positive(floor=floor)
        self.balanced = balanced
        self.floor = floor
        self.target_keys = {"cues": target_key}

    def forward(self, logits: Tensor, cues: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, K, *spatial).
            cues: index map (B, 1, *spatial), 255 = none, or one-hot (B, K, *spatial), all zero = none; on the grid
                of the logits or on a finer one (then see ``cues_on_grid``).
            probs: softmax of the logits, where it is at hand.

        Raises:
            ValueError: shapes that do not fit, or a class that the logits do not have.
        """
        classes = logits.shape[1]
        if cues.dim() != logits.dim():
            raise ValueError(
                f"cues must be an index map (B, 1, *spatial) or one-hot (B, K, *spatial) for logits "
                f"{tuple(logits.shape)}, got {tuple(cues.shape)}."
            )
        fine = (len(logits), classes, *cues.shape[2:])
        index = as_index_map(cues, fine, checked_classes=self.checked_classes).unsqueeze(1)
        index = cues_on_grid(index, logits.shape[2:], classes, check_values=False)
        f = _floored(logits, probs, self.floor)
        cue = index != UNLABELLED
        log_f = f.gather(1, torch.where(cue, index, 0)).log().flatten(1)
        groups = [cue & (index > 0), cue & (index == 0)] if self.balanced else [cue]
        cost = log_f.new_zeros(len(log_f))
        for group in groups:
            here = group.flatten(1)
            cost = cost - torch.where(here, log_f, 0.0).sum(1) / here.sum(1).clamp(min=1)
        return cost.sum() / cue.flatten(1).any(1).sum().clamp(min=1)


class ExpansionLoss(ShownSettings, nn.Module):
    """Classes that an image is tagged with shall fill a part of it, absent classes none.

    For each image -mean log G_c over the present foreground classes, -mean log(1 - G_c) over the absent ones and
    -log G_0 for the background, G being global weighted rank pooling of f with the decay of each kind. A mean over no
    class is left out, and so is a class of unknown tag. The tag of class 0 is not read: background counts as present in
    every image that says anything. An image whose foreground tags are all unknown says nothing, counts nothing and has
    no gradient; the loss is the mean over the others, 0 where there are none. With an absent decay of 0 (default) the
    absent term acts only on the voxel where the class is most probable.

    Args:
        present, absent: decay of present and of absent classes, one number or one a foreground class (K - 1).
        background: decay of the background.
        voxels: number of voxels that the decays are given for; on the grid of the logits, of N voxels, they become
            decay ** (voxels / N). None: used as given. ``decay_of_share`` in ``wss_monai.functional.rank_pooling``
            finds the decay for an expected share of the image: the published ones put half of the weight on 10 %
            (present) and 31 % (background) of the voxels, which is much for small organs.
        floor: added to every probability before it is renormalised.
        tags_key: key of the tags in a ``WeightedSumLoss``: ``slice_tags`` for slices, ``tags`` for volumes.

    Raises:
        ValueError: a decay outside [0, 1], ``voxels`` or a floor that is not positive.
    """

    shown = ("present", "absent", "background", "voxels", "floor")
    uses_probs = True
    checked_classes = 0

    def __init__(
        self,
        present: float | Sequence[float] = 0.996,
        absent: float | Sequence[float] = 0.0,
        background: float = 0.999,
        voxels: int | None = PUBLISHED_VOXELS,
        floor: float = 1e-4,
        tags_key: str = "slice_tags",
    ) -> None:
        super().__init__()
        check_positive(floor=floor, voxels=1 if voxels is None else voxels)
        for name, decay in (("present", present), ("absent", absent), ("background", background)):
            decays_of(decay, len(decay) if isinstance(decay, Sequence) else 1, name)
        self.present = present
        self.absent = absent
        self.background = background
        self.voxels = voxels
        self.floor = floor
        self.target_keys = {"tags": tags_key}

    def forward(self, logits: Tensor, tags: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, K, *spatial).
            tags: (B, K), 1 = present, 0 = absent, -1 = unknown; column 0 is not read.
            probs: softmax of the logits, where it is at hand.

        Raises:
            ValueError: tags of another shape or with other values, decays that are not one a foreground class.
        """
        batch, classes = logits.shape[:2]
        if tags.shape != (batch, classes):
            raise ValueError(
                f"tags must be (B, K) = {(batch, classes)}, background included, got {tuple(tags.shape)}; slices take "
                "the key slice_tags, volumes the key tags."
            )
        if not self.checked_classes:
            check_tags(tags)
        fg = tags[:, 1:]
        present = decays_of(self.present, classes - 1, "present (foreground classes)")
        absent = decays_of(self.absent, classes - 1, "absent (foreground classes)")
        voxels = math.prod(logits.shape[2:])
        p = probabilities(logits, probs)
        pooled = rank_pooling(p, [self._on_grid(d, voxels) for d in (self.background, *present)])
        excess = rank_pooling(p[:, 1:], [self._on_grid(d, voxels) for d in absent])
        # pooling is linear, so the floor may come after it; and 1 - f is not lost to rounding near f = 1
        whole = 1 + classes * self.floor
        log_there = ((pooled + self.floor) / whole).log()
        log_not_there = (((1 - excess).clamp(min=0) + (classes - 1) * self.floor) / whole).log()
        cost = -_mean_where(log_there[:, 1:], fg == 1) - _mean_where(log_not_there, fg == 0) - log_there[:, 0]
        says = (fg != -1).any(1)
        return torch.where(says, cost, 0.0).sum() / says.sum().clamp(min=1)

    def _on_grid(self, decay: float, voxels: int) -> float:
        return decay if self.voxels is None else rescale_decay(decay, voxels, self.voxels)


class ConstrainToBoundaryLoss(ShownSettings, nn.Module):
    """Divergence KL(Q || f) from what a dense CRF makes of the logits and the image, averaged over images and voxels.

    The CRF's Q = max(Q, floor), renormalised, is the target; no gradient goes through it, as published, so that the
    gradient of a logit is close to (f - Q) / (B N). It needs no label at all.

    The published widths are voxels of a grid of 41 x 41 that shows the whole image: theta_alpha = 80 / 12 there is 16 %
    of the field of view. On another grid that share, or a width in mm, is for the user to state in ``crf``.

    Args:
        crf: called as ``crf(logits, image, spacing=...)`` image in 0 to 255; None: ``dense_crf`` on the lattice, as
            published; ``DenseCRF(method="exact")`` takes several times as long for 2e-3 less mean error.
        floor: smallest probability of Q, and what is added to the softmax before it is renormalised.
        image_scale: the image times this, cut to 0 to 255, is what the CRF sees; 255 for images in 0 to 1.
        stride: 1, or how many voxels (one number or one an axis) of the logits' grid make one of the CRF's: logits
            and image are averaged over such blocks first, and the loss is computed there. It makes the CRF of a
            network of full resolution affordable; widths in voxels are then voxels of the coarse grid.
        mm: the widths of ``crf`` are in mm: the spacing is required and handed to it, in mm a voxel of its grid.
        image_key: key of the image in a ``WeightedSumLoss``.

    Raises:
        ValueError: a floor, scale or stride that is not positive; ``mm`` without a ``crf``, whose default widths are in
            voxels.
    """

    shown = ("floor", "image_scale", "stride", "mm")
    uses_probs = True

    def __init__(
        self,
        crf: Callable[..., Tensor] | None = None,
        floor: float = 1e-4,
        image_scale: float = 255.0,
        stride: int | Sequence[int] = 1,
        image_key: str = "image",
        mm: bool = False,
    ) -> None:
        super().__init__()
        check_flags(mm=mm)
        check_positive(floor=floor, image_scale=image_scale)
        if mm and crf is None:
            raise ValueError("mm needs a crf: the default widths are in voxels; give DenseCRF with widths in mm.")
        self.crf = partial(dense_crf, method="lattice") if crf is None else crf
        self.floor = floor
        self.image_scale = image_scale
        steps = as_list(stride)
        if not steps or not all(isinstance(step, int) and step >= 1 for step in steps):
            raise ValueError(f"stride must be a whole number of at least 1, or one an axis, got {stride!r}.")
        self.stride = stride
        self.mm = mm
        self.target_keys = {"image": image_key, "spacing": "spacing" if mm else "spacing?"}

    def forward(
        self, logits: Tensor, image: Tensor, *, spacing: Tensor | None = None, probs: Tensor | None = None
    ) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, K, *spatial).
            image: (B, C, *spatial) on the grid of the logits or on a finer one (then see ``image_on_grid``).
            spacing: (B, D) mm a voxel of the image; read only with ``mm``.
            probs: softmax of the logits, where it is at hand.

        Raises:
            ValueError: shapes that do not fit, or no spacing though ``mm`` is set.
        """
        shape = logits.shape[2:]
        if image.shape[0] != len(logits):
            raise ValueError(f"image has a batch of {image.shape[0]}, but the logits of {len(logits)}.")
        stride = per_axis("stride", self.stride, len(shape))
        fine = wide(logits)
        if any(step > 1 for step in stride):
            fine, probs = block_mean(fine, stride), None
        with torch.no_grad():
            seen = image_on_grid(wide(image), shape)
            seen = block_mean((seen * self.image_scale).clamp(0, 255), stride)
            widths = mm_steps(spacing, image, shape, stride) if self.mm else None
            q = self.crf(fine.detach(), seen, spacing=widths).to(fine).clamp(min=self.floor)
            q = q / q.sum(1, keepdim=True)
        cost = q * (q.log() - _floored(fine, probs, self.floor).log())
        return cost.sum(1).mean()


def _floored(logits: Tensor, probs: Tensor | None, floor: float) -> Tensor:
    """The floor added to the softmax, which is then renormalised."""
    return (probabilities(logits, probs) + floor) / (1 + logits.shape[1] * floor)


def _mean_where(values: Tensor, wanted: Tensor) -> Tensor:
    """Mean (B,) over the wanted ones of (B, K) values, 0 where none is."""
    return torch.where(wanted, values, 0.0).sum(1) / wanted.sum(1).clamp(min=1)
