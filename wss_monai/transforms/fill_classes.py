# SPDX-License-Identifier: Apache-2.0
"""Classes filled up after prediction, where anatomy says that they have no dents."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_numpy

from wss_monai.functional.convex_hull import in_hull

__all__ = ["FillClassesd"]

HOW = ("hull",)


class FillClassesd(MapTransform):
    """Give a class the background inside its convex hull, slice by slice; other classes keep their voxels.

    Put it behind the largest component: a piece elsewhere would be joined to the organ. The cavity of the left
    ventricle is an example: references count its papillary muscles in, and networks that learn from strokes leave them
    out as dark.

    Args:
        keys: key of the prediction (1, *spatial), class indices.
        fill: class, by name or index, -> "hull".
        class_names: names of all K classes, background first; None: ``fill`` has indices alone.
        slice_axis: spatial axis of the slices of a volume.

    Raises:
        ValueError: an unknown class, background, or another way to fill.
    """

    def __init__(
        self,
        keys: KeysCollection,
        fill: Mapping[Any, str],
        class_names: Sequence[str] | None = None,
        slice_axis: int = 2,
    ) -> None:
        super().__init__(keys)
        self.slice_axis = slice_axis
        names = list(class_names or ())
        self.classes: list[int] = []
        for name, how in fill.items():
            if how not in HOW:
                raise ValueError(f"fill, class '{name}': the way must be one of {list(HOW)}, got {how!r}.")
            index = names.index(name) if name in names else name
            if not isinstance(index, int) or index < 1 or (names and index >= len(names)):
                known = f"the classes are {names[1:]}" if names else "give the index of a class, from 1"
                raise ValueError(f"fill names '{name}', which is no foreground class: {known}.")
            self.classes.append(index)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Fill the classes of a copy of the data."""
        d = dict(data)
        for key in self.key_iterator(d):
            filled = np.array(convert_to_numpy(d[key]))
            index = filled[0]
            slices = index[None] if index.ndim == 2 else np.moveaxis(index, self.slice_axis, 0)  # views
            for plane in slices:
                for k in self.classes:
                    plane[in_hull(plane == k) & (plane == 0)] = k
            d[key] = convert_to_dst_type(filled, d[key])[0]
        return d


FillClassesD = FillClassesDict = FillClassesd
