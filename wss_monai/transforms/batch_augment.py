# SPDX-License-Identifier: Apache-2.0
"""Augmentation of a whole batch of plain tensors at once, on their device, that says what it did to the geometry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.runs import ends_of_runs
from wss_monai.functional.transfer import send
from wss_monai.functional.warps import (
    about_centre,
    fraction_outside,
    moved_corners,
    quarter_turns,
    resampling_grid,
    warp_image,
    warp_index,
)

REACH = 0.2
"""How far, as a fraction of the extent, an organ may reach beyond its weakly labelled voxels."""
LOST = 0.05
"""A class without any labelled voxel may be cut where more than this fraction of the domain left the frame."""


MAPS = ("weak_label", "label", "far_background", "boxes")
"""Index maps of a batch, which are moved with the image; boxes have one channel a class."""
TAGS = ("slice_tags", "tags")
"""Tags (B, K) of a batch in {1 present, 0 absent, -1 unknown}."""


@dataclass(frozen=True)
class AugmentPlan:
    """What will be done to a batch of B samples, on the host.

    Attributes:
        matrix: (B, D+1, D+1, float64) from input to output voxels.
        spacing: (B, D) in mm, after.
        cut: (B, K) the class may have been cut.
        chosen: (n,) samples whose intensities change.
        intensities: (3, n) exponent, factor and standard deviation of the noise of each.
        seed: of the noise.
    """

    matrix: Tensor
    spacing: Tensor
    cut: Tensor
    chosen: Tensor
    intensities: Tensor
    seed: int


class BatchAugment:
    """Flips, quarter turns, small affine maps, gain, gamma and noise; one draw a sample.

    Image intensities are expected in 0..1, 0 outside the frame. Label maps (uint8, 255 = unlabelled) are resampled to
    the nearest voxel, 255 where nothing is known. Rotation and scaling happen in mm, so that anisotropic voxels keep
    their anatomy.

    Args:
        flips: spatial axes that may be flipped, with probability one half each.
        turns: two spatial axes in whose plane quarter turns are drawn; None = none. Their extents must be equal.
        rotation: largest angle in degrees, in the plane ``turns`` or, without it, of the first two axes.
        scaling: largest relative change of size.
        translation: largest shift as a fraction of the extent.
        gamma: largest log2 of the exponent of the intensities.
        gain: largest relative change of the intensities.
        noise: largest standard deviation of Gaussian noise.
        affine_probability: how often rotation, scaling and translation are drawn at all.
        intensity_probability: how often gamma, gain and noise are drawn at all.
        num_classes: K, for ``cut``.
        keep_tags: tags stay as they are, whatever leaves the frame.

    Raises:
        ValueError: numbers out of range, axes that the image does not have, quarter turns in a plane with unequal
            extents.
    """

    def __init__(
        self,
        num_classes: int,
        flips: Sequence[int] = (0, 1),
        turns: Sequence[int] | None = (0, 1),
        rotation: float = 15.0,
        scaling: float = 0.1,
        translation: float = 0.05,
        gamma: float = 0.4,
        gain: float = 0.1,
        noise: float = 0.05,
        affine_probability: float = 0.5,
        intensity_probability: float = 0.5,
        keep_tags: bool = False,
    ) -> None:
        for name, value, most in (
            ("rotation", rotation, math.inf),
            ("scaling", scaling, 0.999),
            ("translation", translation, math.inf),
            ("gamma", gamma, math.inf),
            ("gain", gain, math.inf),
            ("noise", noise, math.inf),
            ("affine_probability", affine_probability, 1),
            ("intensity_probability", intensity_probability, 1),
        ):
            if not 0 <= value <= most:
                raise ValueError(f"{name} must be between 0 and {most}, got {value}.")
        if turns is not None and (len(turns) != 2 or turns[0] == turns[1]):
            raise ValueError(f"turns must be two different spatial axes or null, got {turns}.")
        self.num_classes = num_classes
        self.flips = list(flips)
        self.turns = None if turns is None else list(turns)
        self.rotation = rotation
        self.scaling = scaling
        self.translation = translation
        self.gamma = gamma
        self.gain = gain
        self.noise = noise
        self.affine_probability = affine_probability
        self.intensity_probability = intensity_probability
        self.keep_tags = keep_tags

    def __repr__(self) -> str:
        """Everything that a draw depends on, for the record of a run."""
        return f"BatchAugment({', '.join(f'{name}={value}' for name, value in vars(self).items())})"

    def __call__(self, batch: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Augment ``image`` (B, C, *spatial) and the maps `MAPS` of a batch, where present.

        Args:
            batch: plain tensors; ``spacing`` (B, D) in mm; ``group`` (B,): members of a group get one geometric draw.
            seed: everything drawn is a function of it.

        Returns:
            A copy of the batch with ``matrix`` (B, D+1, D+1, float64) from input to output voxels, ``spacing`` after,
            ``spacing_before`` and ``cut`` (B, K): the class may have been cut, so that its lower bounds say nothing.
            Of the tags `TAGS`, where present, "present" becomes "unknown" for a class that may have been cut and of
            which no weakly labelled voxel is left in the frame, unless ``keep_tags``.

        Raises:
            ValueError: also tags that are not (B, K).
        """
        plan = self.plan(batch, seed)
        out = self.apply(batch, plan)
        device = batch["image"].device
        out["spacing_before"], out["spacing"] = batch["spacing"], send(plan.spacing, batch["spacing"].device)
        return {**out, "matrix": send(plan.matrix, device), "cut": send(plan.cut, device)}

    def plan(self, batch: Mapping[str, Any], seed: int) -> AugmentPlan:
        """Draw what will be done to a batch; nothing of it waits for a device where the batch lies on the host.

        Args:
            batch, seed: as of a call; of the image only the shape is looked at.
        """
        shape = tuple(batch["image"].shape[2:])
        generator = torch.Generator().manual_seed(seed)
        spacing = batch["spacing"].detach().cpu()
        group = batch["group"].cpu() if "group" in batch else None
        matrix, after = self.draw(len(batch["image"]), shape, spacing.double(), generator, group)
        intensities = self._draw_intensities(len(batch["image"]), generator)
        cut = self.cut(matrix, batch.get("weak_label"), shape, batch.get("boxes"))
        return AugmentPlan(matrix, after.to(spacing), cut, *intensities)

    def apply(self, batch: Mapping[str, Any], plan: AugmentPlan) -> dict[str, Any]:
        """A copy of the batch with image, maps and tags changed as planned, where they lie."""
        image = batch["image"]
        out = dict(batch)
        grid = resampling_grid(plan.matrix, tuple(image.shape[2:]), image.device)
        maps = [key for key in MAPS if key in batch]
        if maps:
            warped = warp_index(torch.cat([batch[key] for key in maps], 1), grid)
            out.update(zip(maps, warped.split([batch[key].shape[1] for key in maps], 1), strict=True))
        out["image"] = self._change_intensities(warp_image(image, grid), plan)
        for key in TAGS:
            if key in batch and not self.keep_tags:
                out[key] = self._tags_after(key, batch[key], plan.cut, out.get("weak_label"))
        return out

    def draw(
        self,
        count: int,
        shape: tuple[int, ...],
        spacing: Tensor,
        generator: torch.Generator,
        group: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Matrices (B, D+1, D+1) and the spacing (B, D) after, in float64 on the CPU."""
        dimensions = len(shape)
        axes = [*self.flips, *(self.turns or ())]
        if not all(0 <= axis < dimensions for axis in axes):
            raise ValueError(f"flips {self.flips} or turns {self.turns} name axes that a {dimensions}D image lacks.")
        exact = torch.eye(dimensions, dtype=torch.float64).repeat(count, 1, 1)
        for axis in self.flips:
            exact[:, axis, axis] = 1 - 2 * _coin(count, 0.5, generator)
        after = spacing
        if self.turns is not None:
            first, second = self.turns
            if shape[first] != shape[second]:
                raise ValueError(
                    f"quarter turns need equal extents along the axes {self.turns}, got {shape}; set turns to null."
                )
            times = torch.randint(0, 4, (count,), generator=generator)
            exact = quarter_turns(dimensions, first, second)[times] @ exact
            swapped = spacing.clone()
            swapped[:, [first, second]] = spacing[:, [second, first]]
            after = torch.where((times % 2 == 1)[:, None], swapped, spacing)
        small, shift = self._small(count, shape, after, generator)
        linear = small @ exact
        if group is not None:
            _, index = torch.unique(group, return_inverse=True)
            leader = torch.stack([(index == g).nonzero()[0, 0] for g in range(int(index.max()) + 1)])[index]
            linear, shift, after = linear[leader], shift[leader], after[leader]
        return about_centre(linear, shift, shape), after

    def _small(
        self, count: int, shape: tuple[int, ...], spacing: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Rotation and scaling in mm as voxel matrices (B, D, D), and a shift in voxels (B, D)."""
        dimensions = len(shape)
        drawn = _coin(count, self.affine_probability, generator)
        first, second = self.turns or (0, 1)
        angle = math.radians(self.rotation) * _uniform(count, generator) * drawn
        turn = torch.eye(dimensions, dtype=torch.float64).repeat(count, 1, 1)
        turn[:, first, first] = turn[:, second, second] = angle.cos()
        turn[:, first, second], turn[:, second, first] = -angle.sin(), angle.sin()
        turn = turn * (1 + self.scaling * _uniform(count, generator) * drawn)[:, None, None]
        extent = torch.tensor(shape, dtype=torch.float64)
        shift = self.translation * extent * _uniform((count, dimensions), generator) * drawn[:, None]
        return turn * spacing[:, None, :] / spacing[:, :, None], shift

    def cut(
        self, matrix: Tensor, weak_label: Tensor | None, shape: tuple[int, ...], boxes: Tensor | None = None
    ) -> Tensor:
        """Classes (B, K) that may have been cut by the frame.

        Where nothing left through a face of the frame, that face cuts nothing. Through the others, a class may have
        been cut when one of its weakly labelled voxels left or came nearer to the face than the organ may reach beyond
        its drawn voxels: a fifth of the extent, or half of what is drawn along that axis where this is more. A class
        without such voxels may have been cut when more than 5 % of the domain left. A class with boxes (B, K, *spatial)
        lies in them: it may have been cut when a voxel of a box left, and not else.
        """
        last = torch.tensor(shape, dtype=matrix.dtype) - 1
        corners = moved_corners(matrix, shape)
        open_below, open_above = corners.amin(1) < -0.501, corners.amax(1) > last + 0.501  # (B, D)
        cut = torch.zeros(len(matrix), self.num_classes, dtype=torch.bool)
        lossy = (open_below | open_above).any(1).nonzero()[:, 0]
        if not len(lossy):
            return cut
        matrix, open_below, open_above = matrix[lossy], open_below[lossy, None], open_above[lossy, None]
        lower, upper = self._drawn_box(matrix, weak_label, lossy)
        reach = torch.maximum(REACH * (last + 1), (upper - lower) / 2)
        near = ((open_below & (lower < reach)) | (open_above & (upper > last - reach))).any(-1)
        drawn = lower[..., 0].isfinite()
        cut[lossy] = near & drawn
        if not bool(drawn.all()):
            cut[lossy] |= ~drawn & (fraction_outside(matrix, shape) > LOST)[:, None]
        if boxes is not None:
            inside = boxes.cpu().numpy()[lossy.numpy()]
            inside = (inside > 0) & (inside != UNLABELLED)
            lower, upper = self._box_of(matrix, _stacked(*np.nonzero(ends_of_runs(inside, inside))))
            left = ((lower < -0.501) | (upper > last + 0.501)).any(-1)
            cut[lossy] = torch.where(lower[..., 0].isfinite(), left, cut[lossy])
        return cut

    def _tags_after(self, key: str, tags: Tensor, cut: Tensor, weak_label: Tensor | None) -> Tensor:
        """Tags (B, K) of what is in the frame; ``weak_label`` (B, 1, *spatial) after the move."""
        if tags.shape != cut.shape:
            raise ValueError(f"{key} must be (B, K) = {tuple(cut.shape)} in a batch, got {tuple(tags.shape)}.")
        if not bool(cut.any()):
            return tags
        gone = send(cut, tags.device)
        if weak_label is not None:
            drawn = [(weak_label == k).flatten(1).any(1) for k in range(self.num_classes)]
            gone = gone & ~send(torch.stack(drawn, 1), tags.device)
        return tags.masked_fill(gone & (tags == 1), -1)

    def _drawn_box(self, matrix: Tensor, weak_label: Tensor | None, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Least and greatest coordinates (S, K, D) of the moved voxels of each class; infinite where none is drawn."""
        if weak_label is None:
            return self._box_of(matrix, torch.zeros(0, matrix.shape[-1] + 1, dtype=torch.long))
        maps = weak_label[:, 0].cpu().numpy()[samples.numpy()]
        sample, *place = np.nonzero(ends_of_runs(maps, maps < self.num_classes))
        return self._box_of(matrix, _stacked(sample, maps[(sample, *place)], *place))

    def _box_of(self, matrix: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Least and greatest coordinates (S, K, D) of moved voxels (N, 2 + D): sample, class, indices."""
        dimensions = matrix.shape[-1] - 1
        lower = torch.full((len(matrix) * self.num_classes, dimensions), math.inf, dtype=matrix.dtype)
        upper = -lower
        sample = places[:, 0]
        row = (sample * self.num_classes + places[:, 1])[:, None].expand(-1, dimensions)
        moved = matrix[sample, :-1, -1]
        for axis in range(dimensions):
            moved += matrix[:, :-1, axis][sample] * places[:, axis + 2, None]
        lower.scatter_reduce_(0, row, moved, "amin")
        upper.scatter_reduce_(0, row, moved, "amax")
        view = (len(matrix), self.num_classes, dimensions)
        return lower.view(view), upper.view(view)

    def _draw_intensities(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
        """The samples (n,) that change, exponent, factor and noise of each (3, n), and the seed of the noise."""
        drawn = _coin(count, self.intensity_probability, generator)
        exponent = 2 ** (self.gamma * _uniform(count, generator) * drawn)
        factor = 1 + self.gain * _uniform(count, generator) * drawn
        sigma = self.noise * torch.rand(count, generator=generator, dtype=torch.float64) * drawn
        seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
        chosen = drawn.nonzero()[:, 0]
        return chosen, torch.stack((exponent, factor, sigma))[:, chosen], seed

    def _change_intensities(self, image: Tensor, plan: AugmentPlan) -> Tensor:
        if not len(plan.chosen):
            return image
        chosen = send(plan.chosen, image.device)
        view = [3, -1, *[1] * (image.dim() - 1)]
        exponent, factor, sigma = send(plan.intensities.to(image.dtype), image.device).view(view)
        part = image.index_select(0, chosen).clamp_(min=0).pow_(exponent).mul_(factor)
        noise = torch.empty_like(part).normal_(generator=torch.Generator(image.device).manual_seed(plan.seed))
        return image.index_copy(0, chosen, part.addcmul_(noise, sigma))


def _stacked(*columns: np.ndarray) -> Tensor:
    """Columns (N,) of whole numbers as a tensor (N, columns)."""
    return torch.from_numpy(np.stack([column.astype(np.int64, copy=False) for column in columns], -1))


def _coin(count: int, probability: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=generator, dtype=torch.float64) < probability).double()


def _uniform(shape: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform in [-1, 1)."""
    return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
