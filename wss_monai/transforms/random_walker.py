# SPDX-License-Identifier: Apache-2.0
"""Weak labels that the random walker spreads along the image, where it is sure and the bounds do not contradict."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_numpy

from wss_monai.functional import UNLABELLED
from wss_monai.functional.random_walker import walk
from wss_monai.transforms.intervals import spacing_of

__all__ = ["RandomWalkerd"]


class RandomWalkerd(MapTransform):
    """Label the voxels of which the random walker is sure; the drawn ones keep their label.

    A slice (or, without ``slice_axis``, the volume) in which less than two classes are drawn stays as it is. So does
    one in which what the walker finds of a class breaks the bounds of ``bounds_key``: some of it is wrong then, and
    nothing says what. Put it behind the bounds and all deterministic transforms of training; validation keeps what was
    drawn.

    Args:
        num_classes: K.
        slice_axis: spatial axis of the slices; None: walk in three dimensions.
        threshold: least probability of a voxel's class, above 0, at most 1.
        beta: see `wss_monai.functional.random_walker.walk`.
        bounds_key: bounds of sizes (S, K, 1, 2) of slices, or (K, 1, 2) without ``slice_axis``; None: no bounds.
        tolerance: how far, relative to the bound, a size may be outside.
        keys: key of the weak label (1, *spatial).
        image_key: key of the image (C, *spatial), whose channels are averaged.
    """

    def __init__(
        self,
        num_classes: int,
        slice_axis: int | None = 2,
        threshold: float = 0.9,
        beta: float = 100.0,
        bounds_key: str | None = "bounds_size",
        tolerance: float = 0.1,
        keys: KeysCollection = "weak_label",
        image_key: str = "image",
    ) -> None:
        super().__init__(keys)
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}.")
        if not beta > 0 or not tolerance >= 0:
            raise ValueError(f"beta must be positive and tolerance 0 or more, got {beta} and {tolerance}.")
        self.num_classes, self.slice_axis = num_classes, slice_axis
        self.threshold, self.beta = threshold, beta
        self.bounds_key, self.tolerance, self.image_key = bounds_key, tolerance, image_key

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Spread the weak label of a copy of the case.

        Raises:
            ValueError: image and weak label of different extent; names the case.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            image, weak = convert_to_numpy(d[self.image_key]).mean(0), convert_to_numpy(d[key])[0].astype(np.uint8)
            if image.shape != weak.shape:
                raise ValueError(
                    f"case '{d.get('case', '?')}': the image has {image.shape} voxels, '{key}' {weak.shape}; put this "
                    "behind the transforms that resample and crop both."
                )
            bounds = self._bounds(d, weak)
            spacing = spacing_of(d[self.image_key])  # type: ignore[arg-type]
            if self.slice_axis is None or weak.ndim == 2:
                spread = self._spread(image, weak, spacing, None if bounds is None else bounds[0])
            else:
                axis = self.slice_axis
                plane = [step for i, step in enumerate(spacing) if i != axis]
                pairs = zip(np.moveaxis(image, axis, 0), np.moveaxis(weak, axis, 0), strict=True)
                slices = [
                    self._spread(i, w, plane, None if bounds is None else bounds[n]) for n, (i, w) in enumerate(pairs)
                ]
                spread = np.stack(slices, axis)
            d[key] = convert_to_dst_type(spread[None], d[key], dtype=torch.uint8)[0]  # type: ignore[type-var]
        return d

    def _bounds(self, data: Mapping[Hashable, object], weak: np.ndarray) -> np.ndarray | None:
        """Bounds (slices or 1, K, 2), None where there are none."""
        if self.bounds_key is None or self.bounds_key not in data:
            return None
        bounds = convert_to_numpy(data[self.bounds_key])
        return bounds.reshape(-1, self.num_classes, 2)

    def _spread(
        self, image: np.ndarray, weak: np.ndarray, spacing: list[float], bounds: np.ndarray | None
    ) -> np.ndarray:
        probs = walk(image, weak, self.num_classes, self.beta, spacing)
        index, sure = probs.argmax(0).astype(np.uint8), probs.max(0)
        if bounds is not None:
            sizes = np.bincount(index[sure > 0], minlength=self.num_classes)[: self.num_classes]
            lower, upper = bounds[:, 0] * (1 - self.tolerance), bounds[:, 1] * (1 + self.tolerance)
            if ((sizes < lower) | (sizes > upper)).any():
                return weak
        return np.where((weak == UNLABELLED) & (sure >= self.threshold), index, weak)


RandomWalkerD = RandomWalkerDict = RandomWalkerd
