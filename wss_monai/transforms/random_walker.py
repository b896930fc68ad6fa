# SPDX-License-Identifier: Apache-2.0
"""Weak labels grown to dense ones by the random walker: pseudo-labels without a network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_numpy

from wss_monai.functional import UNLABELLED
from wss_monai.functional.settings import check_positive
from wss_monai.functional.weak.random_walker import walked

__all__ = ["RandomWalkerd"]

RULES = ("drawn", "background", "unlabelled")


class RandomWalkerd(MapTransform):
    """Replace the weak label of each slice by its segmentation by the random walker (see ``walked``).

    Only what is drawn in the slice is used. Drawn voxels stay as they are, and so does a slice in which nothing is
    drawn. Put it behind the deterministic transforms of training; it is for training alone, since a network is not
    handed the drawings of the image that it predicts.

    Args:
        slice_axis: spatial axis of the slices; None: the volume is walked as a whole.
        num_classes: K.
        lacking: what becomes of a slice in which a foreground class is not drawn: "drawn", the drawn classes share it
            among themselves; "background", all of it becomes background (as in the published baseline); "unlabelled",
            its weak label stays.
        beta: how much an edge hinders.
        keys: key of the weak label (1, *spatial).
        image_key: key of the image (C, *spatial), whose first channel is looked at.

    Raises:
        ValueError: an unknown rule, a beta that is not above 0; of a case, an image that is not finite, by its name.
    """

    def __init__(
        self,
        num_classes: int,
        slice_axis: int | None = 2,
        lacking: str = "drawn",
        beta: float = 100.0,
        keys: KeysCollection = "weak_label",
        image_key: str = "image",
    ) -> None:
        super().__init__(keys)
        check_positive(beta=beta)
        if lacking not in RULES:
            raise ValueError(f"lacking must be one of {list(RULES)}, got {lacking!r}.")
        self.num_classes, self.slice_axis, self.lacking, self.beta = num_classes, slice_axis, lacking, beta
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Grow the weak labels in a copy of the case."""
        d = dict(data)
        image = convert_to_numpy(d[self.image_key])[0]
        for key in self.key_iterator(d):
            drawn = convert_to_numpy(d[key])[0]
            try:
                grown = self._grown(image, drawn)
            except ValueError as fault:
                raise ValueError(f"case '{d.get('case', '?')}': {fault}") from fault
            d[key] = convert_to_dst_type(grown[None], d[key], dtype=torch.uint8)[0]
        return d

    def _grown(self, image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Classes (*spatial) of all slices."""
        if self.slice_axis is None:
            return self._slice(image, drawn)
        pairs = zip(*(np.moveaxis(each, self.slice_axis, 0) for each in (image, drawn)), strict=True)
        return np.stack([self._slice(*pair) for pair in pairs], self.slice_axis)

    def _slice(self, image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Classes of one slice."""
        there = set(np.unique(drawn[drawn != UNLABELLED]).tolist())
        if not there or (self.lacking == "unlabelled" and not set(range(1, self.num_classes)) <= there):
            return drawn
        if self.lacking == "background" and not set(range(1, self.num_classes)) <= there:
            return np.zeros_like(drawn)
        return np.where(drawn != UNLABELLED, drawn, walked(image, drawn, self.beta))
