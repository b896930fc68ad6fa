# SPDX-License-Identifier: Apache-2.0
"""Bounds: between which values a measure of a class may lie.

Every transform writes a float tensor (K, M, 2) for a volume or (S, K, M, 2) for its slices; last axis (lower, upper),
infinite = no bound, in voxels of the tensor that they are made for (spread and length in mm). Make them after all
deterministic transforms.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import MapTransform, Transform
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.descriptors import Descriptor, Size, completed
from wss_monai.io.grids import spacing_of
from wss_monai.transforms.bounds.intervals import (
    NO_BOUND,
    as_slices,
    check_interval,
    pairs_of,
    tags_of,
)

SETTINGS = {"mm2": "--size_bounds", "ml": "--volume_bounds"}
"""Unit of a size -> what the bundles call its bounds."""


class ConstantBounds(Transform):
    """An interval a class, fixed beforehand; tags say where it holds.

    In a slice the lower side holds only where the class is tagged present, in a volume unless it is tagged absent. A
    class tagged absent has size 0 at most. Without values the tags alone speak. Other descriptors than size are
    bounded only where the class is there; relations between classes where both are. Values <= 0 as lower side of a
    nonnegative descriptor say nothing.

    Args:
        values: class name -> (lower, upper), None = no bound on that side; for a descriptor with M > 1 values, a list
            of M such pairs.
        class_names: names of all K classes, background first.
        unit: "voxel"; size: "mm2" (slices) or "ml" (volumes); centroid: "mm" from the image's centre along each
            tensor axis; spread and length: "mm" (surface area "mm2"); compactness: "1"; others: see their ``units``.
        descriptor: what is bounded.
        slice_axis: spatial axis along which every slice gets bounds of its own; None = the whole tensor.
        origin: where the values come from, for records and reports.

    Raises:
        ValueError: unknown class, unit or shape of the values; lower > upper, upper < 0 of a nonnegative descriptor,
            NaN, what no prediction on the image's grid can keep; named by class.
    """

    def __init__(
        self,
        values: Mapping[str, Sequence[Any]],
        class_names: Sequence[str],
        unit: str = "voxel",
        descriptor: Descriptor | None = None,
        slice_axis: int | None = None,
        origin: str = "constant",
    ) -> None:
        self.class_names = list(class_names)
        self.descriptor = descriptor or Size()
        self.unit = unit
        self.slice_axis = slice_axis
        if not isinstance(values, Mapping):
            raise ValueError(f"bounds must be [lower, upper] by class, such as {{'LV': [20, 4000]}}, got {values!r}.")
        unknown = [name for name in values if name not in self.class_names]
        if unknown:
            setting = SETTINGS.get(unit, "the values") if isinstance(self.descriptor, Size) else "the values"
            raise ValueError(
                f"bounds name the classes {unknown}, which are not among {self.class_names}: set {setting} to yours, "
                f"such as {{'{self.class_names[-1]}': [20, 4000]}}, or to {{}} where nothing is known."
            )
        self.values = {
            self.class_names.index(name): check_interval(pairs_of(name, v), self.descriptor, f"class '{name}'")
            for name, v in values.items()
        }
        if itself := {*completed(self.descriptor).others()} & {*self.values}:
            name = self.class_names[min(itself)]
            raise ValueError(f"'{self.descriptor.name}' relates each class to '{name}': leave out bounds of it itself.")
        self.origin = origin if self.values else "tag"

    def __call__(self, image: Tensor, tags: Tensor | None = None) -> Tensor:
        """Bounds for a channel-first ``image``; ``tags`` (S, K) for slices or (K,) in {1, 0, -1}."""
        spacing = spacing_of(image)
        spatial = list(image.shape[1:])
        count = 1
        if self.slice_axis is not None:
            count = spatial.pop(self.slice_axis)
            spacing = [s for axis, s in enumerate(spacing) if axis != self.slice_axis]
        components = self.descriptor.components(len(spatial))
        bounds = torch.tensor(NO_BOUND).repeat(count, len(self.class_names), components, 1)
        for index, pairs in self.values.items():
            if len(pairs) not in (1, components):
                raise ValueError(
                    f"class '{self.class_names[index]}': '{self.descriptor.name}' has {components} values in "
                    f"{len(spatial)}D, but {len(pairs)} intervals are given."
                )
            pairs = pairs.expand(components, 2)
            bounds[:, index] = completed(self.descriptor).to_voxels(pairs, self.unit, spacing, spatial)
        bounds = self._where_tagged(bounds, tags_of(tags, count, len(self.class_names)))
        self._check_reach(bounds, spatial)
        return bounds if self.slice_axis is not None else bounds[0]

    def _check_reach(self, bounds: Tensor, spatial: list[int]) -> None:
        """Refuse bounds that no prediction on this grid can keep."""
        least, most = completed(self.descriptor).reach(spatial)
        wrong = (bounds[..., 0] > most) | (bounds[..., 1] < least)
        if bool(wrong.any()):
            number, index, component = (int(i) for i in wrong.nonzero()[0])
            raise ValueError(
                f"class '{self.class_names[index]}': no '{self.descriptor.name}' on a grid of {spatial} voxels lies in "
                f"{bounds[number, index, component].tolist()} (in voxels, made of values in {self.unit}); mend the "
                "values, their unit, or the crop."
            )

    def _where_tagged(self, bounds: Tensor, tags: Tensor) -> Tensor:
        """Bounds of a class that is there, what absence means, or what holds in either case.

        A class is there for a descriptor that relates it to others if these are there too.
        """
        there = (tags == 1) if self.slice_axis is not None else (tags != 0)
        kind = completed(self.descriptor)
        there &= there[:, list(kind.others())].all(1, keepdim=True)
        tags, there = tags[..., None, None], there[..., None, None]
        nothing = torch.tensor(kind.when_absent)
        either = torch.stack((bounds[..., 0].minimum(nothing[0]), bounds[..., 1].maximum(nothing[1])), -1)
        return torch.where(tags == 0, nothing, torch.where(there, bounds, either))


class LabelBounds(Transform):
    """Bounds around the measure of the dense label: an oracle, as the tutorials use; a result must say so.

    Classes that a slice or volume does not show get size 0 at most and nothing else; a slice without any known voxel
    gets no bounds. Background has none.

    Args:
        class_names: names of all K classes, background first.
        margin: relative: lower and upper are (1 - margin) and (1 + margin) times the measure; absolute: -/+ margin.
        mode: "relative" or "absolute" (in the unit of the descriptor). Relative to a coordinate, as the tutorials have
            it for centroids, the width depends on the place in the image and is 0 at its first row and column:
            "absolute" is the same everywhere.
        descriptor: what is bounded.
        slice_axis: as in ``ConstantBounds``.
        lower: lower side of a class that is there, in place of the measure less the margin (published: 1).
        absent: (lower, upper) of a class that is not there, in place of the rule above; None = no bound on that side.
            "measured": the margin around the measure 0 of what is not there, as the tutorials and papers have it:
            [0, 0] relative, [0, margin] absolute, both sides counting (a log-barrier refuses the former).

    Raises:
        ValueError: wrong mode, interval of absent classes or a margin that is not positive.
    """

    origin = "oracle"

    def __init__(
        self,
        class_names: Sequence[str],
        margin: float = 0.1,
        mode: str = "relative",
        descriptor: Descriptor | None = None,
        slice_axis: int | None = None,
        lower: float | None = None,
        absent: Sequence[Any] | str | None = None,
    ) -> None:
        if isinstance(absent, str) and absent != "measured":
            raise ValueError(f"absent must be (lower, upper), 'measured' or None, got {absent!r}.")
        if mode not in ("relative", "absolute"):
            raise ValueError(f"mode must be 'relative' or 'absolute', got {mode!r}.")
        if not margin > 0:
            raise ValueError(f"margin must be positive, got {margin}.")
        self.class_names = list(class_names)
        self.margin = margin
        self.mode = mode
        self.descriptor = descriptor or Size()
        self.slice_axis = slice_axis
        self.lower = lower
        if isinstance(absent, str):
            around_nothing = torch.tensor([0.0, 0.0 if mode == "relative" else margin])
            self.absent = around_nothing.expand(1, 2)
        else:
            absent = completed(self.descriptor).when_absent if absent is None else absent
            self.absent = check_interval(pairs_of("absent", absent), self.descriptor, "an absent class")
        self.measured = isinstance(absent, str)

    def __call__(self, label: Tensor) -> Tensor:
        """Bounds for a channel-first index map (1, *spatial)."""
        index, spacing = as_slices(label, self.slice_axis)
        one_hot = torch.stack([index == k for k in range(len(self.class_names))], 1).float()
        measure = self.descriptor(one_hot, spacing=spacing)
        margin = measure.abs() * self.margin if self.mode == "relative" else torch.full_like(measure, self.margin)
        lower = measure - margin if self.lower is None else torch.full_like(measure, self.lower)
        bounds = torch.stack((lower, measure + margin), -1)
        size = one_hot.flatten(2).sum(-1)
        for other in completed(self.descriptor).others():
            size = size * (size[:, other, None] > 0)
        size = size[..., None, None]
        known = (index != UNLABELLED).flatten(1).any(1)[:, None, None, None]
        bounds = torch.where(known, bounds, torch.tensor(NO_BOUND))
        absent = torch.tensor(NO_BOUND) if self.measured else self.absent
        bounds = torch.where(known & (size == 0), absent, bounds)
        bounds[:, 0] = torch.tensor(NO_BOUND)
        bounds = check_interval(bounds, self.descriptor, "the dense label")
        if self.measured:  # after the check, which takes a lower side of 0 for none
            nothing = known & (size == 0)
            nothing[:, 0] = False
            bounds = torch.where(nothing, self.absent, bounds)
        return bounds if self.slice_axis is not None else bounds[0]


class Boundsd(MapTransform):
    """What the dictionary versions share: they write ``bounds_<term>``, and say what is bounded and by whom.

    Attributes:
        term: name of the constraint term.
        descriptor: what is bounded.
        origin: where the bounds come from ("constant", "tag", "oracle", "box", "estimated (k=5)").
        region_key: key of the map that the descriptor measures in; None: the whole image.
    """

    region_key: str | None = None

    def __init__(self, term: str, keys: str, tags_key: str | None, bounds: Any) -> None:
        super().__init__(keys)
        self.term = term
        self.tags_key = tags_key
        self.bounds = bounds
        self.descriptor: Descriptor = bounds.descriptor
        self.origin: str = bounds.origin

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the bounds to a copy of the data.

        Raises:
            ValueError: bounds that cannot hold; names the case.
        """
        source = data[self.first_key(dict(data))]
        if "image" in data and source.shape[1:] != data["image"].shape[1:]:
            raise ValueError(
                f"case '{data.get('case', '?')}': {self.keys[0]} has shape {tuple(source.shape[1:])}, but the image "
                f"has {tuple(data['image'].shape[1:])}; give '{self.keys[0]}' to every spatial transform."
            )
        tags = (data[self.tags_key],) if self.tags_key and self.tags_key in data else ()
        try:
            return {**data, f"bounds_{self.term}": self.bounds(source, *tags)}
        except ValueError as error:
            raise ValueError(f"case '{data.get('case', '?')}': bounds of term '{self.term}': {error}") from error


class ConstantBoundsd(Boundsd):
    """Dictionary version of ``ConstantBounds``.

    Args:
        term: name of the constraint term.
        keys: the image whose grid counts.
        tags_key: tags (of slices "slice_tags", of volumes "tags") where the data has them; None ignores them.
        bounds: all arguments of ``ConstantBounds``.
    """

    def __init__(
        self, term: str = "size", keys: str = "image", tags_key: str | None = "slice_tags", **bounds: Any
    ) -> None:
        try:
            made = ConstantBounds(**bounds)
        except ValueError as error:
            raise ValueError(f"bounds of term '{term}': {error}") from error
        super().__init__(term, keys, tags_key, made)


class LabelBoundsd(Boundsd):
    """Dictionary version of ``LabelBounds`` (oracle), from the key "label"."""

    def __init__(self, term: str = "size", keys: str = "label", **bounds: Any) -> None:
        super().__init__(term, keys, None, LabelBounds(**bounds))
