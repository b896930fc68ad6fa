# SPDX-License-Identifier: Apache-2.0
"""Class activation maps that change as their image changes, and on which the modalities of a patient agree.

Source: Patel and Dolz, Weakly supervised segmentation with cross-modality equivariant constraints, MedIA 77:102374,
2022, and the released code, whose formulas these are. The code averages over all voxels and all images
(``spatial_reduction="mean"``, ``batch_reduction="all"``), which makes the term between modalities, whose maps have unit
norm, smaller by the number of voxels; the defaults sum over voxels and average over the images that count.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wss_monai.functional.settings import ShownSettings
from wss_monai.functional.wide import wide

__all__ = ["ClassDistributionExchangeLoss", "CrossModalityEquivarianceLoss", "WithinModalityEquivarianceLoss"]

SPATIAL = ("sum", "mean")
BATCH = ("counted", "all")
EPS = 1e-12


class _MapLoss(ShownSettings, nn.Module):
    """How both losses on maps add up voxels and images.

    Args:
        spatial_reduction: "sum" over the voxels, or "mean" over those that are valid.
        batch_reduction: divide by the number of images that count, at least 1 ("counted"), or of all images ("all").

    Raises:
        ValueError: other words.
    """

    shown = ("spatial_reduction", "batch_reduction")

    def __init__(self, spatial_reduction: str = "sum", batch_reduction: str = "counted") -> None:
        super().__init__()
        for name, value, words in (
            ("spatial_reduction", spatial_reduction, SPATIAL),
            ("batch_reduction", batch_reduction, BATCH),
        ):
            if value not in words:
                raise ValueError(f"{name} must be one of {words}, got {value!r}.")
        self.spatial_reduction = spatial_reduction
        self.batch_reduction = batch_reduction

    def _inside(self, maps1: Tensor, maps2: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor | int]:
        """Both maps as (M, B, N), 0 where not valid, and by what to divide the sum over voxels, (B,) or 1."""
        first, second = (wide(maps).flatten(2) for maps in (maps1, maps2))
        voxels = first.shape[2]
        count: Tensor | int = voxels
        if valid is not None:
            mask = valid.to(first.dtype).flatten(1)
            if mask.shape != first.shape[1:]:
                raise ValueError(
                    f"valid must be (B, 1, *spatial) on the grid of the maps {tuple(maps1.shape)}, got "
                    f"{tuple(valid.shape)}."
                )
            first, second, count = first * mask, second * mask, mask.sum(1).clamp(min=1)
        return first, second, count if self.spatial_reduction == "mean" else 1

    def _over_batch(self, cost: Tensor, mask: Tensor) -> Tensor:
        """Sum of the cost (..., B) of the images that count, (...)."""
        total = (cost * mask).sum(-1)
        return total / (mask.sum(-1).clamp(min=1) if self.batch_reduction == "counted" else mask.shape[-1])


class WithinModalityEquivarianceLoss(_MapLoss):
    """Squared difference of the maps of the two views of each modality, of images with the class; gradient into both.

    L_ER of the module's source, summed over the modalities.

    Args:
        spatial_reduction, batch_reduction: see the module; ("mean", "all") is the published form.
    """

    def forward(self, maps1: Tensor, maps2: Tensor, tags: Tensor, valid: Tensor | None = None) -> Tensor:
        """Scalar loss of aligned maps.

        Args:
            maps1: (M, B, *spatial) g(N(CAM(x))), normalised to 0..1 and then moved as the image was.
            maps2: (M, B, *spatial) N(CAM(g x)).
            tags: (B,) 1 where the class is present; 0 (absent) and -1 (unknown) do not count.
            valid: (B, 1, *spatial) what stayed in the frame; None: all.

        Raises:
            ValueError: shapes that do not fit.
        """
        _check(maps1, maps2, tags)
        with torch.autocast(maps1.device.type, enabled=False):
            first, second, voxels = self._inside(maps1, maps2, valid)
            cost = (first - second).square().sum(2) / voxels  # (M, B)
            return self._over_batch(cost, (tags == 1).to(cost).expand_as(cost)).sum()


class CrossModalityEquivarianceLoss(_MapLoss):
    """Squared difference between a modality's map of one view and the others' maps of the other view, of unit norm.

    The other modality teaches: no gradient goes into its map, and it counts where its network says, rightly, that the
    class is there. L_CMER of the module's source: the sum over modalities i of the mean over the others j of
    1/2 [D(maps1_i, maps2_j) + D(maps2_i, maps1_j)]. With one modality it is 0.

    Args:
        spatial_reduction, batch_reduction: see the module; ("mean", "all") is the published form.
    """

    def forward(
        self,
        maps1: Tensor,
        maps2: Tensor,
        tags: Tensor,
        correct1: Tensor,
        correct2: Tensor,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Scalar loss of aligned maps.

        Args:
            maps1: (M, B, *spatial) g(N(CAM(x))), normalised to 0..1 and then moved as the image was.
            maps2: (M, B, *spatial) N(CAM(g x)).
            tags: (B,) 1 where the class is present; 0 (absent) and -1 (unknown) do not count.
            correct1: (M, B) where the network of the modality says "present" of x.
            correct2: (M, B) where it says so of g x.
            valid: (B, 1, *spatial) what stayed in the frame; None: all.

        Raises:
            ValueError: shapes that do not fit.
        """
        _check(maps1, maps2, tags)
        if correct1.shape != maps1.shape[:2] or correct2.shape != maps1.shape[:2]:
            raise ValueError(
                f"correct1 and correct2 must be (M, B) = {tuple(maps1.shape[:2])}, got {tuple(correct1.shape)} and "
                f"{tuple(correct2.shape)}."
            )
        with torch.autocast(maps1.device.type, enabled=False):
            first, second, voxels = self._inside(maps1, maps2, valid)
            if len(first) == 1:
                return (first.sum() + second.sum()) * 0
            first, second = _unit(first), _unit(second)
            present = (tags == 1).to(first)
            to_first = self._taught(first, second.detach(), present * correct2.to(first), voxels)
            to_second = self._taught(second, first.detach(), present * correct1.to(first), voxels)
            return (to_first + to_second) / 2

    def _taught(self, students: Tensor, teachers: Tensor, mask: Tensor, voxels: Tensor | int) -> Tensor:
        """Sum over students (M, B, N) of the mean distance to the other modalities' teachers, masked by (M, B)."""
        total = students.new_zeros(())
        for i, student in enumerate(students):
            others = [j for j in range(len(students)) if j != i]
            cost = (student - teachers[others]).square().sum(2) / voxels  # (M - 1, B)
            total = total + self._over_batch(cost, mask[others]).mean()
        return total


class ClassDistributionExchangeLoss(ShownSettings, nn.Module):
    """Divergence of each modality's class distribution from the others', which are not changed by it.

    T^2 KL(softmax(z_j / T) || softmax(z_i / T)), the mean over the batch, the mean over j != i, the sum over i; all
    images count, whatever their tags. L_KD of the module's source. With one modality it is 0.

    Args:
        temperature: T; 10 in the published recipe.

    Raises:
        ValueError: a temperature that is not positive.
    """

    shown = ("temperature",)

    def __init__(self, temperature: float = 10.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        self.temperature = float(temperature)

    def forward(self, logits: Tensor, logits2: Tensor | None = None) -> Tensor:
        """Scalar loss of logits (M, B, C) and, where given, the mean with that of the second view's logits.

        Raises:
            ValueError: not three axes, or two views of different shapes.
        """
        if logits.dim() != 3 or (logits2 is not None and logits2.shape != logits.shape):
            shapes = [tuple(z.shape) for z in (logits, logits2) if z is not None]
            raise ValueError(f"logits must be (M, B, C), the same for both views; got {shapes}.")
        if logits2 is not None:
            return (self.forward(logits) + self.forward(logits2)) / 2
        if len(logits) == 1:
            return logits.sum() * 0
        with torch.autocast(logits.device.type, enabled=False):
            log_p = F.log_softmax(wide(logits) / self.temperature, -1)
            peers = log_p.detach()
            total = log_p.new_zeros(())
            for i in range(len(log_p)):
                others = peers[[j for j in range(len(log_p)) if j != i]]
                total = total + (others.exp() * (others - log_p[i])).sum(-1).mean()
            return self.temperature**2 * total


def _unit(maps: Tensor) -> Tensor:
    """Maps (M, B, N) of unit norm; one that is 0 everywhere stays so, with a finite gradient."""
    norm = maps.norm(dim=2, keepdim=True).clamp(min=EPS)
    empty = (maps == 0).all(2, keepdim=True)
    return maps / torch.where(empty, torch.ones_like(norm), norm)


def _check(maps1: Tensor, maps2: Tensor, tags: Tensor) -> None:
    if maps1.dim() < 3 or maps1.shape != maps2.shape:
        raise ValueError(
            f"maps1 and maps2 must both be (M, B, *spatial), got {tuple(maps1.shape)} and {tuple(maps2.shape)}."
        )
    if tags.shape != maps1.shape[1:2]:
        raise ValueError(f"tags must be (B,) = ({maps1.shape[1]},), got {tuple(tags.shape)}.")
