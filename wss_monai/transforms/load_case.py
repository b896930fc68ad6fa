# SPDX-License-Identifier: Apache-2.0
"""The door of every pipeline: read a case's files, check that they belong together, map labels to class indices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.box_maps import index_of_sets, number_boxes, split_index
from wss_monai.functional.weak.kinds import traits_of
from wss_monai.io.labels import named, read_label
from wss_monai.transforms.image_files import paths_of, read_image

MAPS = {
    "label": ("label_values", "label_segments", 0),
    "weak_label": ("weak_values", "weak_segments", UNLABELLED),
}
"""Entries of a case that say what the values and segments of a map mean, and what is not drawn in a segmentation."""
SPENT = {entry for entries in MAPS.values() for entry in entries[:2]}


class LoadCased(MapTransform):
    """Read the image and the label maps of a case as channel-first ``MetaTensor``, from any format of ``read_volume``.

    Several image files (modalities) become channels, and a 2D file one slice, (C, X, Y, 1). Label maps become uint8
    class indices (255 = unlabelled) through the case's ``label_values`` and ``weak_values``; where a case has no weak
    label, its dense label takes that place (a case drawn densely) unless nothing of its ``weak_kind`` is drawn ("tags",
    "nothing"), and a missing map is 255 everywhere, so that every case carries every key.

    Filled boxes (``weak_kind`` "box") are no partial label, since a box is not the organ: they go to the key ``boxes``
    (K, *spatial), which every case then carries: 1..n inside the n boxes of a class, 0 outside, 255 throughout where
    the case has no boxes. A box is what is connected in a slice (with ``spatial_dims`` 3 in the volume), widened to its
    bounding rectangle where touching boxes or, in files with one class a value, other boxes spoil it. In their place
    ``weak_label`` is 255 inside a box and class 0 where the file says so or, if undrawn means absent, outside all boxes
    of a slice that has some; elsewhere 255.

    Args:
        keys: which of "image", "label" and "weak_label" to read.
        spatial_dims: of the network; with 3, a volume with a single slice is refused.
        num_classes: K, of the boxes; None: as many as the case names in its values and segments.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: an unreadable file, more or fewer than 2 or 3 dimensions, an image and a map of different shape or
            affine, label values outside the set, intensities that are not finite, a single slice for a 3D network; each
            names the case and the file.
    """

    def __init__(
        self,
        keys: KeysCollection = ("image", "label", "weak_label"),
        spatial_dims: int | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.spatial_dims = spatial_dims
        self.num_classes = num_classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the case with tensors in the place of paths."""
        name = str(data.get("case") or data.get("image"))
        image = read_image(name, data["image"], self.spatial_dims)
        case = {key: value for key, value in data.items() if key not in SPENT and key not in MAPS}
        case |= {"image": image, **self._maps(name, data, image)}
        for key in ("tags", "slice_tags"):
            if case.get(key) is None:
                case.pop(key, None)
        return {key: "" if value is None else value for key, value in case.items()}

    def _maps(self, name: str, data: Mapping[Hashable, Any], image: MetaTensor) -> dict[Hashable, MetaTensor]:
        """Read the maps among the keys, and with a weak label the boxes."""
        maps: dict[Hashable, MetaTensor] = {}
        if "label" in self.keys:
            maps["label"] = self._map(name, "label", data, image)
        if "weak_label" in self.keys:
            maps |= self._weak_label(name, data, image, maps.get("label"))
        return maps

    def _weak_label(
        self, name: str, data: Mapping[Hashable, Any], image: MetaTensor, dense: MetaTensor | None
    ) -> dict[Hashable, MetaTensor]:
        """Read the weak label, or the dense one where it takes that place."""
        traits, count = traits_of(data.get("weak_kind")), self.num_classes or _class_count(data)
        drawn = data.get("weak_label") is not None
        if drawn and traits.boxes:
            return self._filled_boxes(name, data, image, count)
        if drawn or not traits.drawn:
            weak = self._map(name, "weak_label", data, image)
        else:
            weak = self._map(name, "label", data, image) if dense is None else dense.clone()
        return {"weak_label": weak, "boxes": _nothing_like(image, count)}

    def _filled_boxes(
        self, name: str, data: Mapping[Hashable, Any], image: MetaTensor, count: int
    ) -> dict[Hashable, MetaTensor]:
        """Read a map of filled boxes: what they are, and what is around them."""
        values, sets = data.get("weak_values"), list[tuple[int, ...]]()
        if values is not None:
            values, sets = index_of_sets(values, count)
        drawn = self._map(name, "weak_label", {**data, "weak_values": values}, image)
        axis = int(data.get("slice_axis", 2))
        with named(name, "weak_label", data["weak_label"]):
            boxes = _boxes(drawn, sets, count, None if self.spatial_dims == 3 else axis)
        return {"weak_label": _outside(drawn, bool(data.get("undrawn_means_absent")), axis), "boxes": boxes}

    def _map(self, name: str, key: str, data: Mapping[Hashable, Any], image: MetaTensor) -> MetaTensor:
        """Read a map; where the case has none it is 255 everywhere."""
        if data.get(key) is None:
            return _nothing_like(image).clone()
        values, segments, undrawn = MAPS[key]
        with named(name, key, data[key]):
            first = paths_of(data["image"])[0]
            return read_label(data[key], image, data.get(values), data.get(segments), undrawn, first)


def _nothing_like(image: MetaTensor, channels: int = 1) -> MetaTensor:
    """Give a map of 255 on the image's grid, (channels, *spatial); it takes the memory of one voxel."""
    nothing = torch.full((1,) * image.dim(), UNLABELLED, dtype=torch.uint8)
    return MetaTensor(nothing.expand(channels, *image.shape[1:]), meta=image.meta)


def _class_count(data: Mapping[Hashable, Any]) -> int:
    """Count the classes that the values and segments of a case name, by the largest index."""
    named = [0]
    for entry in SPENT:
        for meant in (data.get(entry) or {}).values():
            named += [meant] if isinstance(meant, int) else list(meant)
    return max(index for index in named if index != UNLABELLED) + 1


def _boxes(drawn: MetaTensor, sets: list[tuple[int, ...]], count: int, slice_axis: int | None) -> MetaTensor:
    """Number the boxes of each class in a map of filled boxes."""
    inside = split_index(drawn.numpy()[0], sets, count)
    inside[0] = False
    return MetaTensor(torch.from_numpy(number_boxes(inside, slice_axis)), meta=drawn.meta)


def _outside(drawn: MetaTensor, undrawn_means_absent: bool, slice_axis: int) -> MetaTensor:
    """Say which voxels of a map of filled boxes are background, as a weak label."""
    index = drawn.as_tensor()
    outside = index == 0
    if undrawn_means_absent:
        others = [axis for axis in range(index.dim()) if index.dim() < 4 or axis != slice_axis + 1]
        inside = (index != UNLABELLED) & ~outside
        outside = ~inside & (index != UNLABELLED).any(dim=others, keepdim=True)
    return MetaTensor(torch.where(outside, 0, UNLABELLED).to(torch.uint8), meta=drawn.meta)
