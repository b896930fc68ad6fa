# SPDX-License-Identifier: Apache-2.0
"""Bounds around the sizes that a regression network predicts from the image."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform
from torch import Tensor, nn

from wss_monai.functional.descriptors import Size
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.functional.size_units import voxels_per
from wss_monai.io.grids import spacing_of
from wss_monai.transforms.bounds.constant import Boundsd
from wss_monai.transforms.bounds.intervals import NO_BOUND, check_interval, pairs_of, tags_of

__all__ = ["PredictedBounds", "PredictedBoundsd"]

BATCH = 16
"""Slices that the network sees at a time."""


class PredictedBounds(Transform):
    """Size bounds around what a network predicts as the size of each class; background has none.

    Without tags both sides hold for every slice or volume, as published (Kervadec et al., Curriculum semi-supervised
    segmentation, MICCAI 2019). With tags the lower side holds only where the class is there (in a slice: tagged
    present; in a volume: not tagged absent), and a class tagged absent gets the interval ``absent``.

    Args:
        network: takes images (N, C, *spatial) and gives sizes (N, K), slices being images of their own; is used in
            evaluation mode, without gradients.
        class_names: names of all K classes, background first.
        weights: file of the network's state dict; None: the network as it is.
        margin: relative: lower and upper are (1 - margin) and (1 + margin) times the size; absolute: -/+ margin.
        mode: "relative" or "absolute" (in ``unit``).
        unit: of the predicted sizes: "voxel" (of the image that the network sees), "mm2" (slices) or "ml" (volumes).
        scale: the outputs are multiplied by it first, for networks that were trained on small numbers.
        prepare: what is done to the channel-first image before the network sees it, so that it always sees the same
            grid and intensities; the slices must remain. None: nothing.
        slice_axis: spatial axis along which every slice gets bounds of its own; None = the whole tensor.
        absent: (lower, upper) of a class tagged absent; None = no bound on that side.
        device: where the network runs.

    Raises:
        FileNotFoundError: there is no file of weights.
        ValueError: wrong mode, unit, margin or interval, weights of another network, or predictions that are no finite
            numbers (N, K).
    """

    origin = "predicted"

    def __init__(
        self,
        network: nn.Module,
        class_names: Sequence[str],
        weights: str | os.PathLike[str] | None = None,
        margin: float = 0.1,
        mode: str = "relative",
        unit: str = "voxel",
        scale: float = 1.0,
        prepare: Callable[[Tensor], Tensor] | None = None,
        slice_axis: int | None = None,
        absent: Sequence[Any] = (None, 0.0),
        device: str | torch.device = "cpu",
    ) -> None:
        if mode not in ("relative", "absolute"):
            raise ValueError(f"mode must be 'relative' or 'absolute', got {mode!r}.")
        for name, value in (("margin", margin), ("scale", scale)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, got {value}.")
        if unit not in ("voxel", "mm2", "ml"):
            raise ValueError(f"unit must be 'voxel', 'mm2' or 'ml', got {unit!r}.")
        self.class_names = list(class_names)
        self.margin, self.mode, self.unit, self.scale = margin, mode, unit, scale
        self.prepare = prepare
        self.descriptor = Size()
        self.slice_axis = slice_axis
        self.absent = check_interval(pairs_of("absent", absent), self.descriptor, "an absent class")
        self.device = torch.device(device)
        if weights is not None:
            _load(network, Path(weights))
        self.network = network.to(self.device)

    def __call__(self, image: Tensor, tags: Tensor | None = None) -> Tensor:
        """Bounds for a channel-first ``image``; ``tags`` as in ``ConstantBounds``."""
        seen = image if self.prepare is None else self.prepare(image)
        sizes = (self._sizes(seen) * self._factor(seen, image)).clamp(min=0)
        margin = sizes * self.margin if self.mode == "relative" else self.margin * self._factor(seen, image)
        bounds = torch.stack((sizes - margin, sizes + margin), -1).unsqueeze(2)  # (N, K, 1, 2)
        bounds[:, 0] = torch.tensor(NO_BOUND)
        if tags is not None:
            known = tags_of(tags, *sizes.shape)[..., None, None]
            there = (known == 1) if self.slice_axis is not None else (known != 0)
            bounds[..., :1] = torch.where(there, bounds[..., :1], -math.inf)
            bounds = torch.where(known == 0, self.absent, bounds)
        bounds = check_interval(bounds, self.descriptor, "the prediction")
        return bounds if self.slice_axis is not None else bounds[0]

    def _factor(self, seen: Tensor, image: Tensor) -> float:
        """Voxels of ``image`` in one unit of what the network says of ``seen``."""
        theirs, ours = (self._plane(spacing_of(i)) for i in (seen, image))
        factor = voxels_per(self.unit, theirs)
        if factor is None:
            raise ValueError(f"unit '{self.unit}' does not fit {len(theirs)}D: areas take mm2, volumes ml.")
        return factor * math.prod(theirs) / math.prod(ours)

    def _plane(self, spacing: list[float]) -> list[float]:
        return [s for axis, s in enumerate(spacing) if axis != self.slice_axis]

    def _sizes(self, image: Tensor) -> Tensor:
        """What the network says, (N, K)."""
        plain = plain_tensor(image).float()
        batch = plain.unsqueeze(0) if self.slice_axis is None else plain.movedim(1 + self.slice_axis, 0)
        self.network.eval()
        with torch.no_grad():
            parts = [self.network(part.to(self.device)).float().cpu() for part in batch.split(BATCH)]
        sizes = torch.cat([part.reshape(1, -1) if part.dim() == 1 else part for part in parts])
        expected = (len(batch), len(self.class_names))
        if sizes.shape != expected or not bool(sizes.isfinite().all()):
            raise ValueError(
                f"the network must give finite sizes {expected}, one for each slice or volume and class, background "
                f"included; got shape {tuple(sizes.shape)}"
                + (" with values that are not finite." if sizes.shape == expected else ".")
            )
        return sizes * self.scale


class PredictedBoundsd(Boundsd):
    """Dictionary version of ``PredictedBounds``.

    Args:
        term: name of the constraint term.
        keys: the image that the network sees and whose grid counts.
        tags_key: tags (of slices "slice_tags", of volumes "tags") where the data has them; None ignores them.
        bounds: all arguments of ``PredictedBounds``.
    """

    def __init__(
        self, term: str = "size", keys: str = "image", tags_key: str | None = "slice_tags", **bounds: Any
    ) -> None:
        super().__init__(term, keys, tags_key, PredictedBounds(**bounds))


def _load(network: nn.Module, file: Path) -> None:
    if not file.is_file():
        raise FileNotFoundError(f"weights: there is no file '{file}': save the network's state_dict() there.")
    try:
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:
        reason = f"this {type(network).__name__}: {' '.join(str(error).split())[:300]}"
        raise ValueError(f"weights: '{file}' does not hold the weights of {reason}") from error
