# SPDX-License-Identifier: Apache-2.0
"""Supervision by the labelled voxels alone.

Targets are either class-index maps (B, 1, *spatial), 255 = unlabelled, or one-hot masks (B, K, *spatial), all zero =
unlabelled. A batch without any labelled voxel costs 0 with zero gradient; unlabelled voxels never get a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wss_monai.functional import UNLABELLED
from wss_monai.functional.class_values import check_classes
from wss_monai.functional.settings import check_flags, is_number
from wss_monai.functional.wide import wide
from wss_monai.losses.reduction import checked_reduction, reduced
from wss_monai.losses.term import probabilities


class _PartialLoss(nn.Module):
    """Which voxels of a target supervise; the arguments are those of ``PartialCrossEntropyLoss``."""

    checked_classes = 0

    def __init__(self, ignore_index: int, classes: Sequence[int] | None, target_key: str) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.classes = classes
        self.target_keys = {"target": target_key}

    def _index(self, target: Tensor, logits: Tensor) -> Tensor:
        """Index map (B, *spatial) of a target; see ``as_index_map``."""
        return as_index_map(target, logits.shape, self.ignore_index, self.classes, self.checked_classes)


class PartialCrossEntropyLoss(_PartialLoss):
    """Cross-entropy, averaged over the labelled voxels of the batch.

    Source: partial cross-entropy, Tang et al., CVPR 2018, eq. 2; Kervadec et al., Medical Image Analysis 54 (2019).

    Args:
        ignore_index: value of the unlabelled voxels of an index map.
        classes: only voxels labelled with one of these classes supervise; all where None.
        target_key: the key of the target dictionary that holds the map, in a ``WeightedSumLoss``.
        per_sample: average over the labelled voxels of each sample first, then over the samples that have any, so that
            in a batch of mixed labels a densely labelled sample does not outweigh a scribble a hundred times.
        per_class: average over the labelled voxels of each class first, then over the classes that have any (in each
            sample where ``per_sample``), so that much labelled background does not outweigh a stroke in an organ.
        floor: -log(p + floor) in place of -log p. The tutorials' code has 1e-10: a voxel whose probability lies far
            below has nearly no gradient any more, where the exact form pulls as hard as it can.
        reduction: "mean", as above; "sum"; or "none": a cost a voxel (B, *spatial), 0 where it is unlabelled, and with
            ``per_sample`` a mean a sample (B,), 0 where nothing is labelled. ``per_class`` without ``per_sample`` has
            the mean alone.

    Attributes:
        checked_classes: 0: each call looks for class indices that the logits do not have, for which a GPU has to be
            waited for. ``wss_monai.handlers.TrainingCheck`` looks through the whole training set instead, once, and
            sets the number of classes.

    Raises:
        ValueError: flags that are no truth values, a floor that is no number from 0 to below 1.
    """

    uses_probs = False

    def __init__(
        self,
        ignore_index: int = UNLABELLED,
        classes: Sequence[int] | None = None,
        target_key: str = "weak_label",
        per_sample: bool = False,
        per_class: bool = False,
        floor: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(ignore_index, classes, target_key)
        check_flags(per_sample=per_sample, per_class=per_class)
        if not is_number(floor) or not 0 <= floor < 1:
            raise ValueError(f"floor must be a number from 0 to below 1, got {floor!r}.")
        self.per_sample = per_sample
        self.per_class = per_class
        self.floor = float(floor)
        self.uses_probs = self.floor > 0
        if per_class and not per_sample:
            reduction = checked_reduction(reduction, ("mean",), "per_class without per_sample is a mean of the batch")
        self.reduction = checked_reduction(reduction)

    def forward(self, logits: Tensor, target: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Loss of ``logits`` (B, K, *spatial) on ``target`` (B, 1 or K, *spatial): a scalar, see ``reduction``.

        Raises:
            ValueError: shapes that do not fit, or a class index that the logits do not have.
        """
        index = self._index(target, logits)
        logits = wide(logits)
        if self.per_class:
            cost = self._costs(logits, index, probs).flatten(1)
            return _mean_of_samples(*_means_of_groups(cost, index.flatten(1), logits.shape[1], self), self.reduction)
        if self.per_sample:
            count = (index != self.ignore_index).flatten(1).sum(1)
            if self.floor:
                sums = self._costs(logits, index, probs).flatten(1).sum(1)
            else:
                sums = _sums_of_samples(logits, index, self.ignore_index)
            return _mean_of_samples(sums / count.clamp(min=1), count > 0, self.reduction)
        if self.floor or self.reduction == "none":
            cost = self._costs(logits, index, probs)
            total = cost if self.reduction == "none" else cost.sum()
        else:
            total = F.cross_entropy(logits, index, ignore_index=self.ignore_index, reduction="sum")
        return total / (index != self.ignore_index).sum().clamp(min=1) if self.reduction == "mean" else total

    def _costs(self, logits: Tensor, index: Tensor, probs: Tensor | None) -> Tensor:
        """Cost of each labelled voxel (B, *spatial), 0 at the others."""
        if not self.floor:
            return F.cross_entropy(logits, index, ignore_index=self.ignore_index, reduction="none")
        known = index != self.ignore_index
        own = probabilities(logits, probs).gather(1, torch.where(known, index, 0).unsqueeze(1)).squeeze(1)
        return torch.where(known, -(own + self.floor).log(), 0.0)


def _mean_of_samples(means: Tensor, there: Tensor, reduction: str) -> Tensor:
    """Reduce the means of samples, (B,); those without anything labelled are 0 and do not count."""
    return means.sum() / there.sum().clamp(min=1) if reduction == "mean" else reduced(means, reduction)


def _sums_of_samples(logits: Tensor, index: Tensor, ignore_index: int) -> Tensor:
    """Cross-entropy summed over the labelled voxels of each sample, (B,).

    On a CPU a call a sample, which keeps no map of the costs, takes two thirds of the time; on a GPU each call is a
    launch.
    """
    if logits.device.type != "cpu":
        return F.cross_entropy(logits, index, ignore_index=ignore_index, reduction="none").flatten(1).sum(1)
    pairs = zip(logits.split(1), index.split(1), strict=True)
    return torch.stack([F.cross_entropy(*pair, ignore_index=ignore_index, reduction="sum") for pair in pairs])


def _means_of_groups(cost: Tensor, index: Tensor, classes: int, loss: PartialCrossEntropyLoss) -> tuple[Tensor, Tensor]:
    """Mean over the voxels of each class, then the classes, of costs (B, N); and which samples have any.

    Of the whole batch as one sample where the loss has no ``per_sample``.
    """
    known = index != loss.ignore_index
    if not loss.per_sample:
        cost, index, known = (t.reshape(1, -1) for t in (cost, index, known))
    group = torch.where(known, index, 0)
    total = cost.new_zeros(len(cost), classes).scatter_add(1, group, torch.where(known, cost, 0.0))
    count = cost.new_zeros(len(cost), classes).scatter_add(1, group, known.to(cost))
    means, there = total / count.clamp(min=1), (count > 0).sum(1)
    return means.sum(1) / there.clamp(min=1), there > 0


class PartialDiceLoss(_PartialLoss):
    """Soft Dice loss on the labelled voxels, a mean over samples and classes.

    Equal to ``monai.losses.DiceLoss`` with ``ignore_index`` (MONAI 1.6). A class without labelled voxels in a sample is
    still pushed away from the sample's labelled voxels; a sample without any labelled voxel costs 0.

    Args:
        include_background: whether class 0 counts.
        smooth: added to numerator and denominator.
        ignore_index, classes, target_key: as in ``PartialCrossEntropyLoss``.
        reduction: "mean", "sum" or "none": of samples and classes (B, K, 1, ...), as in MONAI.
    """

    uses_probs = True

    def __init__(
        self,
        include_background: bool = True,
        smooth: float = 1e-5,
        ignore_index: int = UNLABELLED,
        classes: Sequence[int] | None = None,
        target_key: str = "weak_label",
        reduction: str = "mean",
    ) -> None:
        super().__init__(ignore_index, classes, target_key)
        self.include_background = include_background
        self.smooth = smooth
        self.reduction = checked_reduction(reduction)

    def forward(self, logits: Tensor, target: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Loss of ``logits`` (B, K, *spatial) on ``target`` (B, 1 or K, *spatial): a scalar, see ``reduction``.

        Raises:
            ValueError: shapes that do not fit, or a class index that the logits do not have.
        """
        probs = probabilities(logits, probs)
        index = self._index(target, logits)
        known = (index != self.ignore_index).unsqueeze(1)
        each = torch.arange(logits.shape[1], device=index.device).reshape(-1, *[1] * (logits.dim() - 2))
        truth = index.unsqueeze(1) == each
        if 0 <= self.ignore_index < logits.shape[1]:
            truth = truth & known
        truth = truth.to(probs)  # once: sums and products of truth values are slow
        overlap = (probs * truth).flatten(2).sum(-1)
        total = (probs * known).flatten(2).sum(-1) + truth.flatten(2).sum(-1)
        dice = 1 - (2 * overlap + self.smooth) / (total + self.smooth)
        dice = dice[:, 0 if self.include_background else 1 :]
        spread = dice.reshape(*dice.shape, *[1] * (logits.dim() - 2))
        return spread if self.reduction == "none" else reduced(dice, self.reduction)


class PartialDiceCELoss(nn.Module):
    """Weighted sum of partial Dice and partial cross-entropy.

    Args:
        lambda_dice, lambda_ce: the weights.
        include_background: whether class 0 counts in the Dice term.
        ignore_index, classes, target_key, per_sample, per_class: as in ``PartialCrossEntropyLoss``.
        reduction: "mean" or "sum", of both, as in MONAI's ``DiceCELoss``: their single costs differ in shape.
    """

    uses_probs = True

    def __init__(
        self,
        lambda_dice: float = 1.0,
        lambda_ce: float = 1.0,
        include_background: bool = True,
        ignore_index: int = UNLABELLED,
        classes: Sequence[int] | None = None,
        target_key: str = "weak_label",
        per_sample: bool = False,
        per_class: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.reduction = checked_reduction(
            reduction, ("mean", "sum"), "the single costs of Dice and cross-entropy differ in shape"
        )
        self.lambda_dice = lambda_dice
        self.lambda_ce = lambda_ce
        self.dice = PartialDiceLoss(include_background, 1e-5, ignore_index, classes, "", self.reduction)
        self.cross_entropy = PartialCrossEntropyLoss(
            ignore_index, classes, "", per_sample, per_class, reduction=self.reduction
        )
        self.target_keys = {"target": target_key}

    def forward(self, logits: Tensor, target: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Scalar loss of ``logits`` (B, K, *spatial) on ``target`` (B, 1 or K, *spatial)."""
        dice = self.dice(logits, target, probs=probs)
        return self.lambda_dice * dice + self.lambda_ce * self.cross_entropy(logits, target)


def as_index_map(
    target: Tensor,
    shape: Sequence[int],
    ignore_index: int = UNLABELLED,
    classes: Sequence[int] | None = None,
    checked_classes: int = 0,
) -> Tensor:
    """Index map (B, *spatial), int64, of a target that fits logits of that shape (B, K, *spatial).

    ``checked_classes``: 0..n-1 are known to be the only classes in the target, so that a GPU need not be waited for
    where the logits have so many.

    Raises:
        ValueError: shapes that do not fit, or a class index that the logits do not have.
    """
    batch, count, *spatial = shape
    if target.shape == (batch, 1, *spatial):
        index = target[:, 0].long()
        if not 0 < checked_classes <= count:
            check_classes(target[:, 0] if target.dtype == torch.uint8 else index, count, unlabelled=ignore_index)
    elif target.shape == (batch, count, *spatial):
        index = torch.where(target.sum(1) > 0, target.float().argmax(1), ignore_index)
    else:
        raise ValueError(
            f"target must be an index map (B, 1, *spatial) or a one-hot mask (B, K, *spatial) for logits "
            f"{tuple(shape)}, got {tuple(target.shape)}."
        )
    if classes is not None:
        wanted = torch.zeros_like(index, dtype=torch.bool)
        for chosen in classes:  # several times as fast as torch.isin for a few classes
            wanted |= index == chosen
        index = torch.where(wanted, index, ignore_index)
    return index
