# SPDX-License-Identifier: Apache-2.0
"""Constraints on several samples together: volumes of two cases of a patient, areas of neighbouring slices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from wss_monai.functional.area_change import AreaChange
from wss_monai.functional.descriptors import Descriptor, Size
from wss_monai.functional.hard_classes import hard_one_hot
from wss_monai.functional.settings import check_positive
from wss_monai.losses.groups import sum_groups
from wss_monai.losses.half_gradient import HalfGradient
from wss_monai.losses.term import probabilities

__all__ = ["EqualVolumeLoss", "SmoothAreasLoss"]

Violations = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of probabilities (B, K, *spatial): z (R, K, 2) of R relations, and which of these sides there are."""


class _AcrossLoss(nn.Module):
    """Mean cost of relations between samples."""

    uses_probs = True
    sizes = False
    classes = None

    def __init__(self, penalty: nn.Module, descriptor: Descriptor) -> None:
        super().__init__()
        self.penalty = penalty
        self.descriptor = descriptor
        self.violation = torch.zeros(())

    def _cost(self, logits: Tensor, probs: Tensor | None, violations: Violations, key: Tensor | None) -> Tensor:
        """Penalties averaged over the sides of each relation that has any, then over these relations."""
        probs = probabilities(logits, probs)
        half = HalfGradient() if logits.dtype == torch.float16 else None
        probs = probs if half is None else half.of(probs)
        z, known = violations(probs)
        if getattr(self.penalty, "keyed", False):
            if key is None:
                raise ValueError(f"{type(self.penalty).__name__} remembers each relation: give its key.")
            dual = None
            if self.penalty.violation == "hard":
                with torch.no_grad():
                    dual = torch.where(known, violations(hard_one_hot(probs))[0], -1.0)
            cost = self.penalty(z, key, dual, known) if len(z) else z
        else:
            cost = self.penalty(z)
        cost = torch.where(known, cost, 0.0).flatten(1).sum(1)
        sides = known.flatten(1).sum(1)
        self.violation = torch.where(known, z.detach().relu(), 0.0).sum() / sides.sum().clamp(min=1)
        value = (cost / sides.clamp(min=1)).sum() / (sides > 0).sum().clamp(min=1)
        return value if half is None else half.loss(value)


class EqualVolumeLoss(_AcrossLoss):
    """A class has the same volume in two cases of a patient, such as the myocardium in ED and ES, within a tolerance.

    Bounds are about a volume that the cases have in common and that nobody knows: what one ml of it is in each case, in
    voxels of the tensor, with the tolerance around (``EqualVolumed`` makes them). So a case that was augmented, or has
    another voxel size, is compared in ml of the patient. With V the soft volume in ml, two cases cost the penalty of
    z = |log V1 - log V2| - log(1 + tolerance), both sides of it. A pair of which one lost a bound (the class may be
    cut) costs nothing; neither does a batch without pairs.

    The batches hold the cases of a patient with all their slices, or slices that stand for the rest:
    ``wss_monai.data.VolumeBatchSampler`` with ``pairs: patient``. In 3D a patch has to hold the whole volume.

    Args:
        penalty: what a violation costs; a `DualPenalty` has multipliers for each pair.
        floor: ml that are added to each volume, so that there is a logarithm of nothing.

    Attributes:
        violation: mean of max(z, 0) over the sides of the last batch, detached.

    Raises:
        ValueError: a floor that is not positive; at a call, no pairs or bounds that do not fit the logits.
    """

    target_keys = {
        "bounds": "bounds_{term}",
        "group": "volume",
        "pairs": "pairs?",
        "group_weight": "group_weight_{term}?",
        "slice_tags": "slice_tags?",
    }

    def __init__(self, penalty: nn.Module, floor: float = 0.1) -> None:
        super().__init__(penalty, Size())
        check_positive(floor=floor)
        self.floor = float(floor)

    def forward(
        self,
        logits: Tensor,
        bounds: Tensor,
        group: Tensor,
        *,
        pairs: Tensor | None = None,
        probs: Tensor | None = None,
        group_weight: Tensor | None = None,
        slice_tags: Tensor | None = None,
    ) -> Tensor:
        """Mean cost of the pairs, a scalar.

        Args:
            logits: (B, K, *spatial).
            bounds: (B, K, 1, 2) voxels of one ml of the common volume, at least and at most; infinite = not compared.
            group: (B,) number of the volume that each sample belongs to.
            pairs: (P, 3) numbers of two volumes, and of the pair.
            probs: softmax of the logits in float32, where it is at hand.
            group_weight: (B,) how many slices a slice stands for; 1 where None.
            slice_tags: (B, K); of a slice that is known to be without the class (0) nothing can be cut.
        """
        _check_bounds(logits, bounds)
        if pairs is None:
            raise ValueError(
                "equal volumes need batches with pairs of cases: set volume_sampler to a "
                "wss_monai.data.VolumeBatchSampler with pairs: patient (the overlay equal_volume.yaml does; it comes "
                "after other overlays with a sampler)."
            )

        def violations(probs: Tensor) -> tuple[Tensor, Tensor]:
            sides = _of_those_there(bounds.to(probs), slice_tags)
            found = sum_groups(self.descriptor(probs), sides, group, group_weight)
            first, second = (torch.searchsorted(found.number, pairs[:, i].contiguous()) for i in (0, 1))
            known = found.bounds.isfinite().all(-1).squeeze(-1)  # (G, K)
            lower, upper = torch.where(known[..., None], found.bounds.squeeze(2), 1.0).unbind(-1)
            level = (found.total.squeeze(-1) / (lower * upper).sqrt() + self.floor).log()
            room = (upper / lower).log() / 2
            apart, allowed = level[first] - level[second], room[first] + room[second]
            both = (known[first] & known[second]).unsqueeze(-1).expand(-1, -1, 2)
            return torch.where(both, torch.stack((-apart, apart), -1) - allowed.unsqueeze(-1), -1.0), both

        return self._cost(logits, probs, violations, pairs[:, 2])

    def no_room(self, bounds: Tensor) -> Tensor:
        """Where bounds (B, K, M, 2) cannot hold, as a mask (B, K, M)."""
        return bounds[..., 0] > bounds[..., 1]


class SmoothAreasLoss(_AcrossLoss):
    """The area of a class changes no faster from slice to slice than its bounds say, in batches of whole volumes.

    The measure is that of ``AreaChange``, in mm2 per mm, between neighbours in the order of the slices; where a batch
    has a part of the slices, between those. Between the first and the last slice that show the class, by their tags
    where these are known, else by the prediction (a voxel above one half): an organ, or what is drawn of it, may end
    abruptly. Slices in which the class may be cut have no bounds.

    Args:
        penalty: what a violation costs; a `DualPenalty` has multipliers for each slice and the one behind it.
        relative: bounds are shares of the mean area per mm, see ``AreaChange``.

    Attributes:
        violation: mean of max(z, 0) over the sides of the last batch, detached.

    Raises:
        ValueError: at a call, bounds that do not fit the logits, or no position and spacing, as of patches in 3D.
    """

    target_keys = {
        "bounds": "bounds_{term}",
        "group": "volume",
        "position": "position?",
        "spacing": "spacing?",
        "slice_tags": "slice_tags?",
    }

    def __init__(self, penalty: nn.Module, relative: bool = False) -> None:
        super().__init__(penalty, AreaChange(relative=relative))
        self.relative = relative
        if getattr(penalty, "keyed", False):
            self.target_keys = {**self.target_keys, "key": "sample?"}

    def forward(
        self,
        logits: Tensor,
        bounds: Tensor,
        group: Tensor,
        position: Tensor | None = None,
        spacing: Tensor | None = None,
        *,
        probs: Tensor | None = None,
        slice_tags: Tensor | None = None,
        key: Tensor | None = None,
    ) -> Tensor:
        """Mean cost of the neighbours, a scalar.

        Args:
            logits: (B, K, H, W).
            bounds: (B, K, 1, 2) in mm2 per mm, or shares per mm; infinite = no bound.
            group: (B,) number of the volume that each slice belongs to.
            position: (B,) of the slice in mm, across the slices.
            spacing: (B, 2) voxel size in mm.
            probs: softmax of the logits in float32, where it is at hand.
            slice_tags: (B, K) present 1, absent 0, unknown -1.
            key: (B,) numbers of the slices, for penalties that remember them.
        """
        _check_bounds(logits, bounds)
        if position is None or spacing is None:
            raise ValueError(
                "smooth areas need batches of slices, which say where each lies: leave out train_3d.yaml, or in 3D "
                "constrain wss_monai.functional.area_change.AreaChange (docs/how-to/choose-bounds.md)."
            )
        order = torch.argsort(position, stable=True)
        order = order[torch.argsort(group[order], stable=True)]
        bounds, place = bounds[order], position[order]
        tags = None if slice_tags is None else slice_tags[order]
        same = group[order][:, None] == group[order][None]  # (B, B)
        follows = same.diagonal(1) & (place[1:] > place[:-1])

        def violations(probs: Tensor) -> tuple[Tensor, Tensor]:
            probs = probs[order]
            area = probs.flatten(2).sum(-1) * spacing[order].to(probs).prod(-1, keepdim=True)
            change = (area[1:] - area[:-1]).abs() / (place[1:] - place[:-1]).to(area).clamp(min=1e-6)[:, None]
            if self.relative:
                fixed, members = area.detach(), same.to(area)
                mean = (members @ fixed.square() + 1e-6) / (members @ fixed + 1e-6)
                change = change / mean[1:]
            sides = _of_those_there(bounds.to(probs), tags).squeeze(2)
            sides = torch.stack((torch.minimum(sides[1:, :, 0], sides[:-1, :, 0]),
                                 torch.maximum(sides[1:, :, 1], sides[:-1, :, 1])), -1)  # fmt: skip
            known = sides.isfinite() & (follows[:, None] & self._within(probs, tags, same, place)).unsqueeze(-1)
            signed = torch.stack((sides[..., 0] - change, change - sides[..., 1]), -1)
            return torch.where(known, signed, -1.0) / self.descriptor.scale(sides, tuple(probs.shape[2:])), known

        return self._cost(logits, probs, violations, None if key is None else key[order][:-1])

    def _within(self, probs: Tensor, tags: Tensor | None, same: Tensor, place: Tensor) -> Tensor:
        """Whether a slice and the next one lie between the first and the last that show each class, (B - 1, K)."""
        shown = probs.detach().flatten(2).amax(-1) > 0.5
        if tags is not None:
            shown = torch.where(tags < 0, shown, tags == 1)
        among = (same.unsqueeze(-1) & shown.unsqueeze(0)).to(torch.uint8)  # (B, B, K): who shows it in the same volume
        where = place[None, :, None].to(probs)
        first = torch.where(among > 0, where, torch.inf).amin(1)
        last = torch.where(among > 0, where, -torch.inf).amax(1)
        here = place[:, None].to(probs)
        return (here[:-1] >= first[:-1]) & (here[1:] <= last[1:])

    def no_room(self, bounds: Tensor) -> Tensor:
        """Where bounds (B, K, M, 2) cannot hold, as a mask (B, K, M)."""
        return bounds[..., 0] > bounds[..., 1]


def _check_bounds(logits: Tensor, bounds: Tensor) -> None:
    if bounds.shape != (*logits.shape[:2], 1, 2):
        raise ValueError(
            f"bounds must be (B, K, 1, 2) = {(*logits.shape[:2], 1, 2)} for logits (B, K, *spatial), got "
            f"{tuple(bounds.shape)}."
        )


def _of_those_there(bounds: Tensor, tags: Tensor | None) -> Tensor:
    """Bounds (B, K, 1, 2) in which slices that are known to be without the class have no say."""
    if tags is None:
        return bounds
    silent = bounds.new_tensor((torch.inf, -torch.inf))
    return torch.where((tags == 0)[..., None, None], silent, bounds)
