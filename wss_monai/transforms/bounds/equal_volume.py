# SPDX-License-Identifier: Apache-2.0
"""What one ml of a volume that several cases of a patient have in common is in each of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor

from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.transforms.bounds.constant import ConstantBounds
from wss_monai.transforms.bounds.intervals import NO_BOUND

__all__ = ["EqualVolumed"]


class EqualVolumed(MapTransform):
    """Classes whose volume is the same in all cases of a patient, for ``wss_monai.losses.EqualVolumeLoss``.

    Writes ``bounds_<term>`` (K, 1, 2), voxels of the tensor in one ml: divided and multiplied by the root of
    1 + tolerance, so that two cases together may differ by the tolerance. None for other classes, for one that the tag
    of the volume says is absent, and for one with a weakly labelled voxel at an edge of the slice plane, which the
    crop or the field of view may have cut. Make them after all deterministic transforms.

    Args:
        tolerance: class name -> by how much the larger of two volumes may exceed the smaller, relative: 0.15 is 15 %.
        class_names: names of all K classes, background first.
        term: name of the constraint term.
        keys: the image whose grid counts, 3D.
        slice_axis: spatial axis across the slices.
        weak_key: key of the weak label, where there is one.
        tags_key: key of the tags (K,) of the volume, where there are any.

    Attributes:
        origin: for records and reports.

    Raises:
        ValueError: no class, an unknown one, or a tolerance that is no positive number.
    """

    origin = "equal volume stated"

    def __init__(
        self,
        tolerance: Mapping[str, Any],
        class_names: Sequence[str],
        term: str = "equal_volume",
        keys: KeysCollection = "image",
        slice_axis: int = 2,
        weak_key: str = "weak_label",
        tags_key: str = "tags",
    ) -> None:
        super().__init__(keys)
        names = list(class_names)
        if not tolerance:
            raise ValueError(f"equal_volume names no class: give one of {names[1:]}, such as {{'{names[-1]}': 0.15}}.")
        for name, value in tolerance.items():
            if name not in names[1:]:
                raise ValueError(f"equal_volume names the class '{name}'; the classes are {names[1:]}.")
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < math.inf:
                raise ValueError(f"equal_volume, class '{name}': give a relative tolerance above 0, got {value!r}.")
        roots = {name: math.sqrt(1 + float(value)) for name, value in tolerance.items()}
        self.bounds = ConstantBounds({name: (1 / root, root) for name, root in roots.items()}, names, unit="ml")
        self.term, self.slice_axis, self.weak_key, self.tags_key = term, slice_axis, weak_key, tags_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the bounds to a copy of the case.

        Raises:
            ValueError: an image that is no volume; names the case.
        """
        try:
            bounds = self.bounds(data[self.first_key(dict(data))], data.get(self.tags_key))
        except ValueError as error:
            raise ValueError(f"case '{data.get('case', '?')}': {error}") from error
        free = (bounds[..., 0] == -torch.inf)[..., 0]
        if self.weak_key in data:
            free = free | self._at_an_edge(plain_tensor(data[self.weak_key])[0], len(bounds))
        bounds = torch.where(free[:, None, None], torch.tensor(NO_BOUND), bounds)
        return {**data, f"bounds_{self.term}": bounds}

    def _at_an_edge(self, weak: Tensor, classes: int) -> Tensor:
        """(K,) classes with a voxel of a map (*spatial) at an edge of the slice plane."""
        plane = [axis for axis in range(weak.dim()) if axis != self.slice_axis]
        edges = torch.cat([weak.select(axis, place).flatten() for axis in plane for place in (0, -1)])
        return torch.stack([(edges == k).any() for k in range(classes)])


EqualVolumeD = EqualVolumeDict = EqualVolumed
