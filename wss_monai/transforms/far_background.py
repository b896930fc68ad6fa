# SPDX-License-Identifier: Apache-2.0
"""Background far from what is drawn: no class reaches farther than a distance, stated or seen in dense patients."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_numpy
from scipy.ndimage import distance_transform_edt

from wss_monai.functional import UNLABELLED
from wss_monai.io.grids import spacing_of
from wss_monai.transforms.bounds.file import classes_of, read_bounds_file, refuse_seen
from wss_monai.transforms.bounds.intervals import tags_of

__all__ = ["FarBackgroundd"]


class FarBackgroundd(MapTransform):
    """Map the background that lies farther from every class's drawing than the class reaches: 0 there, 255 elsewhere.

    The map is a weak label of its own, for a loss term of its own: among so much of it, the strokes that tell an organ
    from its neighbours would count for nothing. How far each class reaches beyond what is drawn of it, in mm within the
    slice, is the term "extent" of a file of ``python -m wss_monai bounds --fit --terms extent``, or ``mm`` for all
    classes, for which no dense patient is needed. Only slices count in
    which every class is either drawn or known to be absent, and that are not drawn densely; the others are 255
    throughout. Put it behind ``WeakTagsd`` and all deterministic transforms of training.

    Args:
        file: the JSON file; not read with ``mm``.
        class_names: names of all K classes, background first.
        slice_axis: spatial axis of the slices.
        unseen: patients that the file must not have been fitted on.
        keys: key of the weak label (1, *spatial).
        output_key: key of the map (1, *spatial), uint8.
        tags_key: key of the tags of the slices (S, K).
        mm: how far any class reaches beyond what is drawn of it, instead of the file.

    Attributes:
        origin: where the extent comes from, for records and reports.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file of another kind, without the extent, without a class, or fitted on patients of ``unseen``; a
            distance that is not above 0.
    """

    def __init__(
        self,
        file: str | Path | None,
        class_names: Sequence[str],
        slice_axis: int = 2,
        unseen: Sequence[str] = (),
        keys: KeysCollection = "weak_label",
        output_key: str = "far_background",
        tags_key: str = "slice_tags",
        mm: float | None = None,
    ) -> None:
        super().__init__(keys)
        self.reach: list[float] = [0.0]
        self.origin: str
        if mm is not None:
            if not isinstance(mm, Real) or not 0 < float(mm) < math.inf:
                raise ValueError(f"far_mm: give a distance in mm above 0, got {mm!r}.")
            self.reach += [float(mm)] * (len(class_names) - 1)
            self.origin = f"extent constant ({mm:g} mm)"
        else:
            content = read_bounds_file(file)
            refuse_seen(content, unseen, file)
            classes = classes_of(content, "extent", list(class_names), file)
            self.reach += [max(model["reach"] for model in _models(classes[name])) for name in class_names[1:]]
            self.origin = f"extent estimated (k={content['dense']})"
        self.slice_axis = slice_axis
        self.output_key = output_key
        self.tags_key = tags_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the map to a copy of the case."""
        d = dict(data)
        for key in self.key_iterator(d):
            weak = convert_to_numpy(d[key])[0].astype(np.uint8)
            flat = weak.ndim == 2
            spacing = spacing_of(d[key])
            plane = [step for axis, step in enumerate(spacing) if flat or axis != self.slice_axis]
            slices = weak[None] if flat else np.moveaxis(weak, self.slice_axis, 0)
            tags = tags_of(d.get(self.tags_key), len(slices), len(self.reach)).numpy()
            far = np.stack([self._far(*pair, plane) for pair in zip(slices, tags, strict=True)])
            index = np.where(far, 0, UNLABELLED)
            index = index[0] if flat else np.moveaxis(index, 0, self.slice_axis)
            d[self.output_key] = convert_to_dst_type(np.ascontiguousarray(index)[None], d[key], dtype=torch.uint8)[0]
        return d

    def _far(self, weak: np.ndarray, tags: np.ndarray, spacing: list[float]) -> np.ndarray:
        """Where a slice is background for sure, a boolean map of its shape."""
        drawn = [k for k in range(1, len(self.reach)) if (weak == k).any()]
        open_questions = [k for k in range(1, len(self.reach)) if k not in drawn and tags[k] != 0]
        if open_questions or not (weak != UNLABELLED).any() or not (weak == UNLABELLED).any():
            return np.zeros(weak.shape, dtype=bool)
        near = np.zeros(weak.shape, dtype=bool)
        for k in drawn:
            near |= distance_transform_edt(weak != k, sampling=spacing) <= self.reach[k] + max(spacing)
        return ~near & ((weak == UNLABELLED) | (weak == 0))


def _models(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [model for model in entry.values() if isinstance(model, Mapping)]
