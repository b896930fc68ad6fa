# SPDX-License-Identifier: Apache-2.0
"""Constraint = descriptor x bounds x penalty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wss_monai.functional.descriptors import Descriptor, completed
from wss_monai.functional.hard_classes import hard_one_hot
from wss_monai.functional.settings import class_index
from wss_monai.losses.groups import sum_groups
from wss_monai.losses.half_gradient import HalfGradient
from wss_monai.losses.penalties import needs_interior
from wss_monai.losses.reduction import checked_reduction, reduced
from wss_monai.losses.term import probabilities


class ConstraintLoss(nn.Module):
    """Keep what a descriptor measures on the soft prediction between bounds.

    Every finite side of the bounds is an inequality: z = (measure - upper) / scale or (lower - measure) / scale, with
    z <= 0 where it holds. The penalties of a sample's finite sides are averaged, then the samples of the batch (a
    sample without bounds counts 0), so that neither the number of classes nor the batch size changes the weight.

    Sources: Kervadec et al., Medical Image Analysis 54 (2019), and arXiv 1904.04205; the division by a scale of the
    bound instead of the image's size is ours.

    Args:
        descriptor: what is measured, e.g. ``Size()``.
        penalty: what a violation costs, e.g. ``LogBarrierExtension(t=5)``.
        classes: indices, or names where ``class_names`` is given, that the constraint acts on; all where None.
        class_names: names of all classes, background first.
        scale: a number, or "domain" (voxels of the tensor), instead of the descriptor's scale.
        published: the form of the papers' code and of the tutorials instead: z in the measure's own unit, the penalties
            summed over classes, components and both sides, divided by the voxels of the tensor, mean over the batch.
        region_key: key of the batch that holds the region, e.g. "boxes", so that several terms may share it; None:
            "region_{term}" where there is one.
        reduction: "mean" of the samples, as above; "sum" (in the tutorials' code, whose batches hold one); or "none": a
            cost a sample, (B,), with ``group`` a group.

    Attributes:
        violation: mean of max(z, 0) over all finite sides of the last batch, detached.
        checked_classes: 0: each call looks for bounds without room, for which a GPU has to be waited for.
            ``wss_monai.handlers.TrainingCheck`` looks through the whole training set instead, once, and sets the
            number of classes.

    Raises:
        ValueError: unknown classes or scale, a scale beside ``published``; bounds that do not fit the logits, are NaN,
            or, for the log-barrier, leave no room between lower and upper.
    """

    uses_probs = True
    checked_classes = 0
    target_keys = {
        "bounds": "bounds_{term}",
        "spacing": "spacing?",
        "region": "region_{term}?",
        "group": "group_{term}?",
        "group_weight": "group_weight_{term}?",
    }

    def __init__(
        self,
        descriptor: Descriptor,
        penalty: nn.Module,
        classes: Sequence[int | str] | None = None,
        class_names: Sequence[str] | None = None,
        scale: float | str | None = None,
        published: bool = False,
        region_key: str | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.reduction = checked_reduction(reduction)
        if scale is not None and scale != "domain" and (isinstance(scale, str) or not scale > 0):
            raise ValueError(f"scale must be a positive number, 'domain' or None, got {scale!r}.")
        if published and scale is not None:
            raise ValueError(f"published measures violations in voxels: leave scale out, got {scale!r}.")
        self.descriptor = descriptor
        self.penalty = penalty
        self.classes = None if classes is None else [class_index(c, class_names) for c in classes]
        self.scale: float | str | None = 1.0 if published else scale
        self.published = published
        if region_key is not None:
            self.target_keys = {**self.target_keys, "region": region_key}
        if getattr(penalty, "keyed", False):
            self.target_keys = {**self.target_keys, "key": "sample?"}
        self.violation = torch.zeros(())

    def forward(
        self,
        logits: Tensor,
        bounds: Tensor,
        *,
        probs: Tensor | None = None,
        spacing: Tensor | None = None,
        region: Tensor | None = None,
        group: Tensor | None = None,
        group_weight: Tensor | None = None,
        key: Tensor | None = None,
    ) -> Tensor:
        """Mean cost of the batch, a scalar; see ``reduction``.

        Args:
            logits: (B, K, *spatial).
            bounds: (B, K, M, 2) lower and upper in voxels of the tensor, infinite = no bound.
            probs: softmax of the logits in float32, where it is at hand.
            spacing: (B, D) voxel size in mm.
            region: (B, 1, *spatial), or (B, K, *spatial) with one for each class; the measure is taken where it is
                neither 0 nor 255. For boxes see ``wss_monai.functional.box_descriptors``.
            group: (B,) integers; the measures of one group (the slices of a volume) are summed, and its members carry
                the same bounds, which are about the whole group.
            group_weight: (B,) how many slices a slice stands for; 1 where None.
            key: (B,) numbers of the samples, for penalties that remember them (`DualPenalty`); groups are remembered
                by their own numbers.
        """
        self._check_shape(logits, bounds)
        probs = probabilities(logits, probs)
        half = HalfGradient() if logits.dtype == torch.float16 else None
        probs = probs if half is None else half.of(probs)
        bounds = bounds.to(probs)
        if not self.checked_classes:
            self._check_room(bounds if self.classes is None else bounds[:, self.classes])
        about = (bounds, spacing, region, group, group_weight)
        z, known = self._violations(probs, *about)
        self.violation = torch.where(known, z.detach().relu(), 0.0).sum() / known.sum().clamp(min=1)
        if getattr(self.penalty, "keyed", False):
            cost, known = self._remembered(probs, z, known, about, key)
        else:
            cost = self.penalty(z)
        cost = torch.where(known, cost, 0.0).flatten(1).sum(1)
        sides = known.flatten(1).sum(1)
        whole = math.prod(logits.shape[2:]) if self.published else sides.clamp(min=1)
        value = reduced(cost / whole, self.reduction)
        return value if half is None else half.loss(value)

    def _violations(
        self,
        probs: Tensor,
        bounds: Tensor,
        spacing: Tensor | None,
        region: Tensor | None,
        group: Tensor | None,
        group_weight: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """z (B or groups, K, M, 2), and which of these sides there are."""
        kind = completed(self.descriptor)
        chosen = slice(None) if self.classes is None else self.classes
        if self.classes is not None and not kind.joint():
            if region is not None and region.shape[1] == probs.shape[1]:
                region = region[:, self.classes]
            probs, chosen = probs[:, self.classes], slice(None)
        measure = self.descriptor(probs, spacing=spacing, region=region)[:, chosen]
        bounds = bounds if self.classes is None else bounds[:, self.classes]
        several = kind.one_bound  # values of one pair of bounds; NaN: no value there
        if several and bounds.shape[2] == 1:
            bounds = bounds.expand(-1, -1, measure.shape[2], -1)
        if measure.shape != bounds.shape[:-1]:
            raise ValueError(
                f"bounds of '{self.descriptor.name}' must be (B, K, M, 2) with (B, K, M) = {tuple(measure.shape)}, "
                f"got {tuple(bounds.shape)}."
            )
        shape = tuple(probs.shape[2:])
        if group is None:
            scale = self._scale(bounds, shape)
        else:
            measure, bounds, scale = self._sum_groups(measure, bounds, shape, group, group_weight)
        known = bounds.isfinite() & ~measure.isnan().unsqueeze(-1) if several else bounds.isfinite()
        signed = torch.stack((bounds[..., 0] - measure, measure - bounds[..., 1]), -1)
        return torch.where(known, signed, -1.0) / scale, known

    def _remembered(
        self, probs: Tensor, z: Tensor, known: Tensor, about: tuple, key: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Cost by a penalty with multipliers of each sample or group, and the sides that have one."""
        group = about[3]
        if group is not None:
            key = torch.unique(group)
        dual = None
        if self.penalty.violation == "hard":
            with torch.no_grad():
                dual, _ = self._worst(*self._violations(hard_one_hot(probs), *about))
        z, known = self._worst(z, known)
        cost: Tensor = self.penalty(z, key, dual, known)
        return cost, known

    def _worst(self, z: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """The worst of values that have one pair of bounds, since their number differs from batch to batch: all of them
        hold where it does. Other values as they are."""
        if not completed(self.descriptor).one_bound:
            return z, known
        worst = torch.where(known, z, -math.inf).amax(2, keepdim=True)
        return torch.where(worst.isfinite(), worst, -1.0), known.any(2, keepdim=True)

    def _check_shape(self, logits: Tensor, bounds: Tensor) -> None:
        if bounds.dim() != 4 or bounds.shape[-1] != 2 or bounds.shape[:2] != logits.shape[:2]:
            raise ValueError(
                f"bounds must be (B, K, M, 2) for logits (B, K, *spatial) {tuple(logits.shape)}, "
                f"got {tuple(bounds.shape)}."
            )
        if self.classes and max(self.classes) >= logits.shape[1]:
            raise ValueError(f"classes {self.classes} go beyond the {logits.shape[1]} classes of the logits.")

    def no_room(self, bounds: Tensor) -> Tensor:
        """Where bounds (B, K, M, 2) of all classes leave no room between lower and upper, as a mask (B, K, M)."""
        wrong = self._no_room(bounds)
        if self.classes is not None:
            others = [k for k in range(bounds.shape[1]) if k not in self.classes]
            wrong[:, others] = False
        return wrong

    def _no_room(self, bounds: Tensor) -> Tensor:
        room = bounds[..., 1] - bounds[..., 0]
        return ~(room > 0) if needs_interior(self.penalty) else ~(room >= 0)

    def _check_room(self, bounds: Tensor) -> None:
        wrong = self._no_room(bounds)
        if torch.compiler.is_compiling():  # a graph cannot look; it ends with this line
            torch._assert_async(~wrong.any(), f"bounds of '{self.descriptor.name}' leave no room")
        elif bool(wrong.any()):
            sample, index, component = (int(i) for i in wrong.nonzero()[0])
            raise ValueError(
                f"bounds of '{self.descriptor.name}' leave no room: lower and upper are "
                f"{bounds[sample, index, component].tolist()} for sample {sample} of the batch, class "
                f"{self.classes[index] if self.classes else index}; widen the interval (a log-barrier needs lower < "
                "upper)."
            )

    def _scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        if self.scale is None:
            return self.descriptor.scale(bounds, shape)
        return torch.full_like(bounds, math.prod(shape) if isinstance(self.scale, str) else self.scale)

    def _sum_groups(
        self, measure: Tensor, bounds: Tensor, shape: tuple[int, ...], group: Tensor, weight: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One measure, one pair of bounds and one scale a group; the domain is all that the group stands for."""
        if not self.descriptor.additive:
            raise ValueError(f"'{self.descriptor.name}' of a volume is not the sum over its slices: give no group.")
        _, total, joint, slices = sum_groups(measure, bounds, group, weight)
        scale = torch.cat(
            [self._scale(joint[i : i + 1], (round(count), *shape)) for i, count in enumerate(slices.tolist())]
        )
        return total, joint, scale
