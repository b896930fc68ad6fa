# SPDX-License-Identifier: Apache-2.0
"""Augmentation of a whole batch of plain tensors at once, on their device, that says what it did to the geometry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.runs import ends_of_runs, places_of
from wss_monai.functional.transfer import send, send_together
from wss_monai.functional.warps import fraction_outside, grid_of, grid_rows, moved_corners, warp_image, warp_index
from wss_monai.transforms.augment_plan import AugmentPlan

REACH = 0.2
"""How far, as a fraction of the extent, an organ may reach beyond its weakly labelled voxels."""
LOST = 0.05
"""A class without any labelled voxel may be cut where more than this fraction of the domain left the frame."""

MAPS = ("weak_label", "label", "far_background", "averaged_label", "boxes")
"""Index maps of a batch, which are moved with the image; boxes have one channel a class."""
TAGS = ("slice_tags", "tags")
"""Tags (B, K) of a batch in {1 present, 0 absent, -1 unknown}."""


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

    warp = staticmethod(warp_image)

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
        image, shape = batch["image"], tuple(batch["image"].shape[2:])
        rows, chosen, intensities, cut = send_together(
            (grid_rows(plan.matrix, shape, self.frame(shape)), plan.chosen, plan.intensities.to(image.dtype), plan.cut),
            image.device,
        )
        out = dict(batch)
        grid = grid_of(rows, self.frame(shape))
        maps = [key for key in MAPS if key in batch]
        if maps:
            warped = warp_index(torch.cat([batch[key] for key in maps], 1) if maps[1:] else batch[maps[0]], grid)
            out.update(zip(maps, warped.split([batch[key].shape[1] for key in maps], 1), strict=True))
        out["image"] = self._change_intensities(self.warp(image, grid), chosen, intensities, plan.seed)
        for key in TAGS:
            if key in batch and not self.keep_tags:
                if batch[key].shape != plan.cut.shape:
                    wanted, got = tuple(plan.cut.shape), tuple(batch[key].shape)
                    raise ValueError(f"{key} must be (B, K) = {wanted} in a batch, got {got}.")
                if bool(plan.cut.any()):
                    out[key] = self._tags_after(batch[key], cut, out.get("weak_label"))
        return out

    def frame(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Extent of what comes out of images of ``shape``: the same; of a subclass that crops, another."""
        return shape

    def join(self, small: np.ndarray, exact: np.ndarray) -> np.ndarray:
        """One linear map (B, D, D) of the small rotation and scaling and the flips and quarter turns before it."""
        joined: np.ndarray = small @ exact
        return joined

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
        exact = np.tile(np.eye(dimensions), (count, 1, 1))
        for axis, coin in zip(self.flips, _drawn(generator, count, *[1] * len(self.flips)), strict=True):
            exact[:, axis, axis] = np.where(coin[:, 0] < 0.5, -1.0, 1.0)
        after = before = spacing.numpy()
        if self.turns is not None:
            first, second = self.turns
            if shape[first] != shape[second]:
                raise ValueError(
                    f"quarter turns need equal extents along the axes {self.turns}, got {shape}; set turns to null."
                )
            times = torch.randint(0, 4, (count,), generator=generator).numpy()
            for rows, flipped in zip(exact, times, strict=True):
                for _ in range(flipped):
                    rows[[first, second]] = -rows[second], rows[first]
            swapped = before.copy()
            swapped[:, [first, second]] = before[:, [second, first]]
            after = np.where((times % 2 == 1)[:, None], swapped, before)
        small, shift = self._small(shape, after, generator)
        linear = self.join(small, exact)
        if group is not None:
            _, leaders, index = np.unique(group.numpy(), return_index=True, return_inverse=True)
            linear, shift, after = (values[leaders[index]] for values in (linear, shift, after))
        centre = (np.array(shape) - 1) / 2
        matrix = np.tile(np.eye(dimensions + 1), (count, 1, 1))
        matrix[:, :-1, :-1] = linear
        matrix[:, :-1, -1] = centre - (linear * centre).sum(-1) + shift
        return torch.from_numpy(matrix), torch.from_numpy(after)

    def _small(
        self, shape: tuple[int, ...], spacing: np.ndarray, generator: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rotation and scaling in mm as voxel matrices (B, D, D), and a shift in voxels (B, D)."""
        count, dimensions = len(spacing), len(shape)
        coin, angle, size, shift = _drawn(generator, count, 1, 1, 1, dimensions)
        drawn = (coin < self.affine_probability).astype(float)
        first, second = self.turns or (0, 1)
        angles = torch.from_numpy(math.radians(self.rotation) * _centred(angle) * drawn)[:, 0]
        cosine, sine = angles.cos().numpy(), angles.sin().numpy()  # not numpy's, whose last digit differs
        turn = np.tile(np.eye(dimensions), (count, 1, 1))
        turn[:, first, first] = turn[:, second, second] = cosine
        turn[:, first, second], turn[:, second, first] = -sine, sine
        turn = turn * (1 + self.scaling * _centred(size) * drawn)[:, :, None]
        return turn * spacing[:, None, :] / spacing[:, :, None], self.translation * np.array(shape) * _centred(
            shift
        ) * drawn

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
        last = np.array(self.frame(shape)) - 1.0
        cut = np.zeros((len(matrix), self.num_classes), dtype=bool)
        corners = moved_corners(matrix.numpy(), shape)
        open_below, open_above = corners.min(1) < -0.501, corners.max(1) > last + 0.501  # (B, D)
        lossy = np.flatnonzero((open_below | open_above).any(1))
        if not len(lossy):
            return torch.from_numpy(cut)
        moved, open_below, open_above = matrix.numpy()[lossy], open_below[lossy, None], open_above[lossy, None]
        lower, upper = self._drawn_box(moved, weak_label, lossy)
        drawn = np.isfinite(lower[..., 0])
        with np.errstate(invalid="ignore"):  # of a class that is not drawn: infinity - infinity
            reach = np.maximum(REACH * np.array(shape), (upper - lower) / 2)
        near = ((open_below & (lower < reach)) | (open_above & (upper > last - reach))).any(-1)
        cut[lossy] = near & drawn
        if not drawn.all():
            cut[lossy] |= ~drawn & (fraction_outside(moved, shape, frame=self.frame(shape)) > LOST)[:, None]
        if boxes is not None:
            inside = boxes.cpu().numpy()[lossy]
            inside = (inside > 0) & (inside != UNLABELLED)
            lower, upper = self._box_of(moved, *places_of(ends_of_runs(inside, inside)))
            left = ((lower < -0.501) | (upper > last + 0.501)).any(-1)
            cut[lossy] = np.where(np.isfinite(lower[..., 0]), left, cut[lossy])
        return torch.from_numpy(cut)

    def _tags_after(self, tags: Tensor, cut: Tensor, weak_label: Tensor | None) -> Tensor:
        """Tags (B, K) of what is in the frame; ``weak_label`` (B, 1, *spatial) after the move."""
        gone = cut
        if weak_label is not None:
            drawn = [(weak_label == k).flatten(1).any(1) for k in range(self.num_classes)]
            gone = gone & ~send(torch.stack(drawn, 1), tags.device)
        return tags.masked_fill(gone & (tags == 1), -1)

    def _drawn_box(
        self, matrix: np.ndarray, weak_label: Tensor | None, samples: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest coordinates (S, K, D) of the moved voxels of each class; infinite where none is drawn."""
        if weak_label is None:
            return self._box_of(matrix, *np.zeros((matrix.shape[-1] + 1, 0), dtype=np.int64))
        maps = weak_label[:, 0].cpu().numpy()[samples]
        sample, *place = places_of(ends_of_runs(maps, maps < self.num_classes))
        return self._box_of(matrix, sample, maps[(sample, *place)], *place)

    def _box_of(
        self, matrix: np.ndarray, sample: np.ndarray, index: np.ndarray, *place: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest coordinates (S, K, D) of moved voxels, given by sample, class and place along each axis.

        Each argument but the matrices (S, D+1, D+1) is (N,).
        """
        lower = np.full((len(matrix) * self.num_classes, len(place)), math.inf)
        upper = -lower
        if len(sample):
            moved = matrix[sample, :-1, -1]
            for axis, position in enumerate(place):
                moved += matrix[:, :-1, axis][sample] * position[:, None]
            row = sample * self.num_classes + index
            order = np.argsort(row, kind="stable")
            row, moved = row[order], moved[order]
            starts = np.flatnonzero(np.diff(row, prepend=-1))
            lower[row[starts]] = np.minimum.reduceat(moved, starts)
            upper[row[starts]] = np.maximum.reduceat(moved, starts)
        view = (len(matrix), self.num_classes, len(place))
        return lower.reshape(view), upper.reshape(view)

    def _draw_intensities(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
        """The samples (n,) that change, exponent, factor and noise of each (3, n), and the seed of the noise."""
        coin, gamma, gain, noise = _drawn(generator, count, 1, 1, 1, 1)
        drawn = (coin < self.intensity_probability).astype(float)
        exponent = (2 ** torch.from_numpy(self.gamma * _centred(gamma) * drawn)).numpy()
        factor = 1 + self.gain * _centred(gain) * drawn
        seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
        chosen = np.flatnonzero(drawn)
        values = np.concatenate((exponent, factor, self.noise * noise * drawn), 1).T[:, chosen]
        return torch.from_numpy(chosen), torch.from_numpy(values), seed

    def _change_intensities(self, image: Tensor, chosen: Tensor, intensities: Tensor, seed: int) -> Tensor:
        if not len(chosen):
            return image
        exponent, factor, sigma = intensities.view(3, -1, *[1] * (image.dim() - 1))
        part = image.index_select(0, chosen).clamp_(min=0).pow_(exponent).mul_(factor)
        noise = torch.empty_like(part).normal_(generator=torch.Generator(image.device).manual_seed(seed))
        return image.index_copy(0, chosen, part.addcmul_(noise, sigma))


def _drawn(generator: torch.Generator, count: int, *widths: int) -> list[np.ndarray]:
    """Numbers uniform in [0, 1), (count, width) for each width, drawn one after the other."""
    if not widths:
        return []
    numbers = torch.rand(count * sum(widths), generator=generator, dtype=torch.float64).numpy()
    parts = np.split(numbers, np.cumsum(widths)[:-1] * count)
    return [part.reshape(count, width) for part, width in zip(parts, widths, strict=True)]


def _centred(numbers: np.ndarray) -> np.ndarray:
    """Uniform in [-1, 1) of uniform in [0, 1)."""
    return 2 * numbers - 1
