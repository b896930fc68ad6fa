# SPDX-License-Identifier: Apache-2.0
"""From scores on the grid of a network to the grid of the image, a few planes at a time.

MONAI inverts the resampling of all classes at once in float64: a volume of 512 x 512 x 512 voxels and 20 classes takes
30 GB. Planes of the result need no more of each other than the coarse scores, so that they are made one after another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.networks.utils import to_norm_affine
from monai.transforms import Compose, Invertd, Spacingd
from monai.utils import TraceKeys
from torch import Tensor
from torch.nn.functional import grid_sample

from wss_monai.functional.plain_tensor import plain_tensor

__all__ = ["AT_ONCE", "Inversion", "largest", "mean_of_classes"]

AT_ONCE = 2**28
"""Bytes that the inverted scores of all classes may take in float64; of more, planes one after another."""
MODES = {"bilinear", "nearest"}


class Inversion:
    """Give planes of scores on the grid of the image.

    Args:
        back: the step that inverts the preprocessing; None: both grids are one.
        data: the preprocessed case.
        scores: (K, *grid of the network).
        shape: of the image (X, Y, Z).

    Attributes:
        by_planes: whether they are made one after another.
    """

    def __init__(self, back: Invertd | None, data: Mapping[Any, Any], scores: Tensor, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.count = len(scores)
        self.whole: Any = scores
        self.by_planes = False
        if back is None:
            return
        large = self.count * math.prod(shape) * 8 > AT_ONCE
        if large and (spacing := _only_spacing(back)) is not None:
            whole: Any = back.transform
            steps = list(whole.transforms)
            rest = Compose(steps[steps.index(spacing) + 1 :])
            part = Invertd("pred", transform=rest, orig_keys="image", nearest_interp=False)
            coarse: Any = part({**data, "pred": MetaTensor(plain_tensor(scores))})["pred"]
            self.by_planes = self._resampled(coarse)
        if not self.by_planes:
            self.whole = back({**data, "pred": MetaTensor(plain_tensor(scores))})["pred"]

    @property
    def meta(self) -> Any:
        """Of the image, for what comes behind."""
        return self.whole.meta if isinstance(self.whole, MetaTensor) else None

    def blocks(self) -> Iterator[tuple[int, int]]:
        """First and last plane (behind it) of each block along the first axis."""
        plane = self.count * math.prod(self.shape[1:]) * 8
        step = max(1, AT_ONCE // 4 // plane)
        for first in range(0, self.shape[0], step):
            yield first, min(first + step, self.shape[0])

    def planes(self, first: int, last: int) -> Tensor:
        """Scores (K, last - first, Y, Z), as MONAI gives them."""
        if not self.by_planes:
            return plain_tensor(self.whole)[:, first:last]
        base = torch.ones(last - first, *self.shape[1:], 4, dtype=torch.float64, device=self.coarse.device)
        base[..., 0] = self.axes[2]
        base[..., 1] = self.axes[1][:, None]
        base[..., 2] = self.axes[0][first:last, None, None]
        grid = (base.view(1, -1, 4) @ self.theta.transpose(1, 2)).view(1, last - first, *self.shape[1:], 3)
        found = grid_sample(self.coarse, grid, self.mode, self.padding, align_corners=self.corners)
        return found[0].to(torch.float32)

    def _resampled(self, coarse: MetaTensor) -> bool:
        """Keep what MONAI's ``spatial_resample`` would compute with; False where it would do something else."""
        told = coarse.applied_operations[-1]
        extra = told[TraceKeys.EXTRA_INFO]
        if extra["mode"] not in MODES or tuple(told[TraceKeys.ORIG_SIZE]) != self.shape or coarse.dim() != 4:
            return False
        own, wanted = (np.asarray(matrix, dtype=float) for matrix in (coarse.affine, extra["src_affine"]))
        there = np.linalg.solve(own, wanted)
        if coarse.shape[1:] == self.shape and np.allclose(there, np.eye(4), atol=1e-3):
            return False
        self.corners = extra["align_corners"] is True
        self.mode, self.padding = extra["mode"], extra["padding_mode"]
        self.coarse = plain_tensor(coarse)[None].to(torch.float64)
        theta = torch.as_tensor(there, dtype=torch.float64, device=self.coarse.device)[None]
        theta = to_norm_affine(theta, list(coarse.shape[1:]), list(self.shape), align_corners=self.corners)
        turned = torch.tensor([2, 1, 0], device=theta.device)
        theta[:, :3] = theta[:, turned]
        theta[:, :, :3] = theta[:, :, turned]
        self.theta = theta[:, :3]
        self.axes = [_positions(count, self.corners, self.coarse.device) for count in self.shape]
        self.whole = MetaTensor(torch.zeros(1), affine=torch.as_tensor(wanted))
        return True


def largest(inversion: Inversion) -> MetaTensor:
    """Class of the largest score in each voxel (1, X, Y, Z), float32, as ``argmax`` of all inverted scores gives it."""
    index = torch.zeros(1, *inversion.shape)
    for first, last in inversion.blocks():
        index[0, first:last] = inversion.planes(first, last).argmax(dim=0).cpu()
    return _like(index, inversion)


def mean_of_classes(parts: Sequence[Inversion], entropy: bool = False) -> tuple[MetaTensor, Tensor | None]:
    """Class of the largest mean probability in each voxel, and the entropy of the means.

    Args:
        parts: of each network the probabilities.
        entropy: whether it is wanted.

    Returns:
        (1, X, Y, Z) float32, and the entropy divided by log K, in 0..1, (X, Y, Z), or None.
    """
    shape, count = parts[0].shape, parts[0].count
    index = torch.zeros(1, *shape)
    unsure = torch.zeros(shape) if entropy else None
    for first, last in parts[0].blocks():
        mean: Any = None
        for part in parts:
            own = part.planes(first, last).float()
            mean = own if mean is None else mean + own
        mean = mean / len(parts)
        index[0, first:last] = mean.argmax(dim=0).cpu()
        if unsure is not None:  # where no network looked all is 0: background, for sure
            total = mean.sum(0)
            shares = mean / total.clamp_min(1e-6)
            unsure[first:last] = (torch.special.entr(shares).sum(0) / math.log(max(count, 2))).clamp(0, 1).cpu()
    return _like(index, parts[0]), unsure


def _only_spacing(back: Invertd) -> Any:
    """The one resampling step of the preprocessing, where it comes first of all that moves voxels."""
    steps = list(getattr(back.transform, "transforms", ()))
    found = [step for step in steps if isinstance(step, Spacingd)]
    return found[0] if len(found) == 1 else None


def _positions(count: int, corners: bool, device: torch.device) -> Tensor:
    """Coordinates of the voxels along an axis in -1..1, as ``torch.nn.functional.affine_grid`` has them."""
    if count <= 1:
        return torch.zeros(count, dtype=torch.float64, device=device)
    steps = torch.linspace(-1, 1, count, dtype=torch.float64, device=device)
    return steps if corners else steps * (count - 1) / count


def _like(index: Tensor, inversion: Inversion) -> MetaTensor:
    return MetaTensor(index, meta=inversion.meta)
