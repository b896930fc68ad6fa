# SPDX-License-Identifier: Apache-2.0
"""A descriptor of how many pieces a class is in: the part of it that lies outside of its largest pieces.

The number of pieces has no gradient. What lies outside of the largest one has: a constraint on it pushes the stray
pieces down, and leaves the organ alone. The pieces themselves are found on the hard mask, as constants.

Sources: keeping the largest component as a loss instead of afterwards is ours; losses on the number of components by
persistent homology are those of Hu et al., NeurIPS 2019, and Clough et al., PAMI 2020, which move single voxels, at
many times the cost. Labelling on a device: label equivalence with pointer jumping, after Playne and Hawick, IEEE TPDS
2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from wss_monai.functional.descriptor_protocol import Measure
from wss_monai.functional.moved_bounds import unbounded_where
from wss_monai.functional.settings import check_flags, is_number, is_whole
from wss_monai.functional.soft_masks import EPS, inside

__all__ = ["StrayShare", "label_pieces", "stray_voxels"]

ROUNDS = 12
"""Of the labelling on a device. Each joins neighbouring pieces into one, so that n voxels take about log n."""


@dataclass(frozen=True)
class StrayShare(Measure):
    """Part of a class's mass that lies outside of its largest pieces, 0 to 1 (M = 1): 0 where there are no more.

    The mass is the sum of the probability over the voxels where it is at least ``threshold``; what is connected there
    by faces, edges or corners is a piece. A class that is nowhere so probable measures 0.
    """

    name: ClassVar[str] = "stray_share"
    unit: ClassVar[str] = "1"
    nonnegative: ClassVar[bool] = True
    additive: ClassVar[bool] = False

    pieces: int = 1
    """How many pieces a class may be in."""
    threshold: float = 0.5
    """Least probability of the voxels of a piece, between 0 and 1."""
    drawn: bool = False
    """Whether ``region`` (B, 1, *spatial) is what is drawn, class indices: pieces with most drawn voxels of the class
    come before larger ones."""

    def __post_init__(self) -> None:
        if not is_whole(self.pieces) or self.pieces < 1:
            raise ValueError(f"pieces must be a whole number, 1 or more, got {self.pieces!r}.")
        if not is_number(self.threshold) or not 0 < self.threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, got {self.threshold!r}.")
        check_flags(drawn=self.drawn)

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, 1).

        On the CPU scipy finds the pieces; on another device, and in a compiled graph, tensor operations do, and nothing
        is waited for.

        Raises:
            ValueError: ``drawn`` without a region, or with one of another shape.
        """
        if self.drawn and (region is None or region.shape != (probs.shape[0], 1, *probs.shape[2:])):
            found = "none" if region is None else str(tuple(region.shape))
            raise ValueError(
                f"{self.name} with drawn needs a region (B, 1, *spatial), the drawings, for probabilities "
                f"{tuple(probs.shape)}; got {found}. Set region_key to weak_label."
            )
        probs = inside(probs, None if self.drawn else region)
        masks = probs.flatten(0, 1)
        with torch.no_grad():
            shown = masks >= self.threshold
            order = torch.where(shown, masks, 0.0)
            if self.drawn and region is not None:
                index = torch.arange(probs.shape[1], device=probs.device).view(-1, *[1] * (probs.dim() - 2))
                marks = (region == index).flatten(0, 1) & shown
                order = torch.where(marks, order + shown[0].numel(), order)
            stray = stray_voxels(shown, order, self.pieces)
        held = torch.where(shown, masks, 0.0).flatten(1).sum(1)
        away = torch.where(stray, masks, 0.0).flatten(1).sum(1)
        return (away / (held + EPS)).unflatten(0, probs.shape[:2]).unsqueeze(-1)

    def components(self, dimensions: int) -> int:
        """M = 1."""
        return 1

    def reach(self, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """From nothing to all of it."""
        return torch.zeros(1), torch.ones(1)

    def joint(self) -> bool:
        """Drawings name classes by their index."""
        return self.drawn

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Each side's own bound, at least 0.25."""
        return torch.where(bounds.isfinite(), bounds.abs(), 1.0).clamp(min=0.25)

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Pieces stay pieces; no bounds of a class that may be cut, and in two."""
        return unbounded_where(bounds, cut)


def stray_voxels(masks: Tensor, weight: Tensor, pieces: int = 1) -> Tensor:
    """Where masks (N, *spatial) are, outside of their pieces with most ``weight`` (N, *spatial) in them.

    Pieces are connected by faces, edges or corners.

    Returns:
        Boolean (N, *spatial).
    """
    if masks.device.type == "cpu" and not torch.compiler.is_compiling():
        return _stray_on_host(masks, weight, pieces)
    flat = label_pieces(masks).flatten(1)
    total = weight.new_zeros(flat.shape[0], flat.shape[1] + 1).scatter_add(1, flat, weight.flatten(1))
    first = total.topk(min(pieces, total.shape[1]), 1).indices
    kept = flat == first[:, :1]
    for place in range(1, first.shape[1]):
        kept = kept | (flat == first[:, place, None])
    return masks & ~kept.view(masks.shape)


def _stray_on_host(masks: Tensor, weight: Tensor, pieces: int) -> Tensor:
    """The same by scipy."""
    structure = np.ones([3] * (masks.dim() - 1))
    stray = np.zeros(masks.shape, dtype=bool)
    for mask, own, out in zip(masks.numpy(), weight.numpy(), stray, strict=True):
        numbers, count = ndimage.label(mask, structure)
        if count > pieces:
            total = np.bincount(numbers.ravel(), own.ravel())
            total[0] = math.inf  # outside of the mask
            away = np.ones(count + 1, dtype=bool)
            away[np.argpartition(total, -pieces - 1)[-pieces - 1 :]] = False
            out[:] = away[numbers]
    return torch.from_numpy(stray)


def label_pieces(masks: Tensor) -> Tensor:
    """Number the pieces of masks (N, *spatial) by tensor operations: neighbours take the largest number among them.

    Returns:
        int64 (N, *spatial), 0 outside of the masks; the voxels of a piece have one number between 1 and the number of
        voxels of a mask.
    """
    count = math.prod(masks.shape[1:])
    number = torch.arange(1, count + 1, device=masks.device).view(1, *masks.shape[1:])
    root = torch.where(masks, number, 0)
    pool = F.max_pool3d if masks.dim() == 4 else F.max_pool2d
    real = torch.float32 if count < 2**24 else torch.float64
    parent = torch.arange(count + 1, device=masks.device).repeat(len(masks), 1)
    for _ in range(ROUNDS):
        near = torch.where(masks, pool(root.to(real).unsqueeze(1), 3, 1, 1)[:, 0].long(), 0)
        parent = parent.scatter_reduce(1, root.flatten(1), near.flatten(1), "amax")
        for _ in range(2):
            parent = parent.gather(1, parent)
        root = torch.where(masks, parent.gather(1, root.flatten(1)).view(root.shape), 0)
    return root
