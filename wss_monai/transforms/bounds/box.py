# SPDX-License-Identifier: Apache-2.0
"""Bounds from drawn boxes: the organ touches all sides of its box, fills a part of it, and is nowhere else.

All read the key ``boxes`` (K, *spatial) that ``LoadCased`` writes: 1..n inside the boxes of a class, 0 outside, 255
unknown. The boxes must have gone through the spatial transforms of the image.

Source: Kervadec et al., Bounding boxes for weakly supervised segmentation, MIDL 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Transform
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.box_descriptors import BoxStrips, OutsideSize
from wss_monai.functional.descriptors import Measure, Size
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.transforms.bounds.constant import Boundsd
from wss_monai.transforms.bounds.intervals import NO_BOUND, check_interval, tags_of


class _OfBoxes(Transform):
    """What the transforms share: slices of the boxes, and which classes have one."""

    origin = "box"

    def __init__(self, class_names: Sequence[str], descriptor: Measure, slice_axis: int | None) -> None:
        self.class_names = list(class_names)
        self.descriptor = descriptor
        self.slice_axis = slice_axis

    def _inside(self, boxes: Tensor) -> Tensor:
        """Where the boxes of slices, or of the whole, are: (S, K, *slice), never for the background.

        Raises:
            ValueError: not one channel a class.
        """
        plain = plain_tensor(boxes)
        if len(plain) != len(self.class_names):
            raise ValueError(
                f"boxes have {len(plain)} channels, but there are {len(self.class_names)} classes "
                f"{self.class_names}; LoadCased writes one channel a class (num_classes)."
            )
        slices = plain.unsqueeze(0) if self.slice_axis is None else plain.movedim(self.slice_axis + 1, 0)
        inside = (slices > 0) & (slices != UNLABELLED)
        inside[:, 0] = False
        return inside

    def _finish(self, bounds: Tensor) -> Tensor:
        return bounds if self.slice_axis is not None else bounds[0]


class BoxBounds(_OfBoxes):
    """Size bounds: fractions of the voxels in the boxes of a class (0.5 to 0.9 for the prostate, section 3.3).

    A slice without a box of the class gets no bounds here (tags say whether it is absent).

    Args:
        class_names: names of all K classes, background first.
        fractions: lower and upper fraction of the boxes, for all classes, or class name -> (lower, upper); a class
            that is not named has no bounds.
        slice_axis: as in ``ConstantBounds``.

    Raises:
        ValueError: fractions that are not 0 <= lower < upper, of an unknown class.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        fractions: Sequence[float] | Mapping[str, Sequence[float]] = (0.5, 0.9),
        slice_axis: int | None = None,
    ) -> None:
        super().__init__(class_names, Size(), slice_axis)
        each = fractions if isinstance(fractions, Mapping) else dict.fromkeys(class_names, fractions)
        if unknown := sorted(set(each) - set(class_names)):
            raise ValueError(f"fractions name the classes {unknown}, which are not among {list(class_names)}.")
        for name, pair in each.items():
            if len(pair) != 2 or not 0 <= pair[0] < pair[1]:
                of = f" for class '{name}'" if isinstance(fractions, Mapping) else ""
                raise ValueError(f"fractions must be 0 <= lower < upper{of}, got {list(pair)}.")
        self.fractions = torch.tensor([list(each.get(name, NO_BOUND)) for name in class_names], dtype=torch.float32)

    def __call__(self, boxes: Tensor, tags: Tensor | None = None) -> Tensor:
        """Bounds for channel-first ``boxes`` (K, *spatial); ``tags`` as in ``ConstantBounds``."""
        voxels = self._inside(boxes).flatten(2).sum(2).float()
        bounds = voxels[..., None, None] * self.fractions[:, None]
        bounds = torch.where(voxels[..., None, None] > 0, bounds, torch.tensor(NO_BOUND))
        if tags is not None:
            absent = (tags_of(tags, *voxels.shape) == 0)[..., None, None]
            bounds = torch.where(absent, torch.tensor(self.descriptor.when_absent), bounds)
        return self._finish(check_interval(bounds, self.descriptor, "the boxes"))


class BoxTightnessBounds(_OfBoxes):
    """Every line of a box crosses the organ: at least 1 voxel a line, on average over the lines of each strip.

    For the classes that have a box in a slice, or volume. A class with a box at the edge of the tensor has no bound,
    since the crop may have cut it.

    Args:
        class_names: names of all K classes, background first.
        width: lines of a strip, see ``BoxStrips``; that of the loss.
        slice_axis: as in ``ConstantBounds``; boxes of volumes need ``LoadCased(spatial_dims=3)``.

    Raises:
        ValueError: a width that is no number of lines.
    """

    def __init__(self, class_names: Sequence[str], width: int = 5, slice_axis: int | None = None) -> None:
        super().__init__(class_names, BoxStrips(width), slice_axis)

    def __call__(self, boxes: Tensor, tags: Tensor | None = None) -> Tensor:
        """Bounds (S, K, 1, 2) or (K, 1, 2) for channel-first ``boxes`` (K, *spatial)."""
        inside = self._inside(boxes)
        tight = inside.flatten(2).any(2)
        for axis in range(2, inside.dim()):
            for end in (0, -1):
                tight &= ~inside.select(axis, end).flatten(2).any(2)
        bounds = torch.where(tight[..., None, None], torch.tensor((1.0, math.inf)), torch.tensor(NO_BOUND))
        return self._finish(bounds)


class EmptinessBounds(_OfBoxes):
    """There is nothing of a class outside of its boxes: size 0 at most there.

    For the classes that have a box in a slice, or volume, and those that a tag says to be absent.

    Args:
        class_names: names of all K classes, background first.
        slice_axis: as in ``ConstantBounds``.
    """

    def __init__(self, class_names: Sequence[str], slice_axis: int | None = None) -> None:
        super().__init__(class_names, OutsideSize(), slice_axis)

    def __call__(self, boxes: Tensor, tags: Tensor | None = None) -> Tensor:
        """Bounds (S, K, 1, 2) or (K, 1, 2) for channel-first ``boxes`` (K, *spatial); ``tags`` as in ``BoxBounds``."""
        empty = self._inside(boxes).flatten(2).any(2)
        if tags is not None:
            empty |= tags_of(tags, *empty.shape) == 0
        empty[:, 0] = False
        nothing = torch.tensor(self.descriptor.when_absent)
        return self._finish(torch.where(empty[..., None, None], nothing, torch.tensor(NO_BOUND)))


class BoxBoundsd(Boundsd):
    """Dictionary version of ``BoxBounds``.

    Args:
        term: name of the constraint term.
        keys: key of the boxes.
        tags_key: as in ``ConstantBoundsd``.
        region_key: the boxes again, to measure the size inside of the boxes alone; None: in the whole image.
        bounds: all arguments of ``BoxBounds``.
    """

    def __init__(
        self,
        term: str = "size",
        keys: str = "boxes",
        tags_key: str | None = "slice_tags",
        region_key: str | None = None,
        **bounds: Any,
    ) -> None:
        super().__init__(term, keys, tags_key, BoxBounds(**bounds))
        self.region_key = region_key


class BoxTightnessBoundsd(Boundsd):
    """Dictionary version of ``BoxTightnessBounds``; arguments as in ``BoxBoundsd``."""

    def __init__(self, term: str = "tightness", keys: str = "boxes", **bounds: Any) -> None:
        super().__init__(term, keys, None, BoxTightnessBounds(**bounds))
        self.region_key = keys


class EmptinessBoundsd(Boundsd):
    """Dictionary version of ``EmptinessBounds``; arguments as in ``BoxBoundsd``."""

    def __init__(
        self, term: str = "outside", keys: str = "boxes", tags_key: str | None = "slice_tags", **bounds: Any
    ) -> None:
        super().__init__(term, keys, tags_key, EmptinessBounds(**bounds))
        self.region_key = keys
