# SPDX-License-Identifier: Apache-2.0
"""Image tags (which classes are there) read off a weak label and joined with the tags that a case brings along."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_numpy

from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.box_maps import in_boxes
from wss_monai.functional.weak.generators import present_classes

__all__ = ["WeakTags", "WeakTagsd"]

PRESENT, ABSENT, UNKNOWN = 1, 0, -1


class WeakTags(Transform):
    """Tell for each slice and for the volume which classes are present (1), absent (0) or unknown (-1).

    A slice, class by class, the first rule that applies:

    1. A given tag of the slice counts, as does a given volume tag that says absent.
    2. Drawn in the slice: present.
    3. Not drawn in a dense slice (no voxel is 255): absent.
    4. Nothing at all drawn in the slice, background included: unknown, since nobody looked at it.
    5. Not drawn: absent if undrawn means absent, else unknown. Background that is not drawn is unknown in any case:
       annotators who draw organs only do not say that the slice has none.

    The volume: a given tag counts; else present if it is present in any slice, absent if absent in every slice, else
    unknown. Where a given volume tag says present and rule 5 would rule out the class in every slice, the tag wins
    and those slices are unknown.

    Args:
        num_classes: K.
        slice_axis: spatial axis of the slices; a 2D image is one slice.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, num_classes: int, slice_axis: int = 2) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes must be 2 or more, background included, got {num_classes}")
        self.num_classes, self.slice_axis = num_classes, slice_axis

    def __call__(
        self,
        weak: NdarrayOrTensor,
        tags: Sequence[int] | None = None,
        slice_tags: Sequence[Sequence[int]] | None = None,
        undrawn_means_absent: bool = False,
        case: str = "",
        boxes: NdarrayOrTensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the tags.

        Args:
            weak: class indices, 255 = unlabelled, shape ``(1, *spatial)``.
            tags: given tags of the volume, K numbers out of 1, 0, -1; None: all unknown.
            slice_tags: given tags of the slices, in the order of the slices, S rows of K; None: all unknown.
            undrawn_means_absent: see rule 5.
            case: name for error messages.
            boxes: numbered boxes ``(K, *spatial)``; a box shows its class as a drawn voxel does.

        Returns:
            tags ``(K,)`` and slice tags ``(S, K)``, int8.

        Raises:
            ValueError: if given tags have the wrong shape or values, or contradict each other or the weak label.
        """
        label = convert_to_numpy(weak)
        if label.ndim not in (3, 4) or label.shape[0] != 1:
            raise ValueError(f"case '{case}': a weak label has the shape (1, *spatial), got {tuple(label.shape)}")
        label, axis = (label[0], self.slice_axis) if label.ndim == 4 else (label, 0)
        try:
            drawn = present_classes(label, self.num_classes, axis).astype(bool)
        except ValueError as error:
            raise ValueError(f"case '{case}': weak {error}") from error
        known = np.moveaxis(label, axis, 0).reshape(len(drawn), -1) != UNLABELLED
        if boxes is not None and (numbered := in_boxes(convert_to_numpy(boxes))).any():
            inside = np.moveaxis(self._fitting(numbered, label, case), axis + 1, 1)
            inside = inside.reshape(self.num_classes, len(drawn), -1)
            drawn |= inside.any(axis=2).T
            known |= inside.any(axis=0)
        dense = known.all(axis=1)[:, None]
        volume = self._given("tags", tags, (self.num_classes,), case)
        rows = self._given("slice_tags", slice_tags, drawn.shape, case)
        self._refuse_contradictions(volume, rows, drawn, dense, case)

        looked = drawn.any(axis=1, keepdims=True) & (np.arange(self.num_classes) > 0)
        undrawn = ~drawn & ~dense & looked & undrawn_means_absent & (rows == UNKNOWN) & (volume != ABSENT)
        result = np.where(drawn, PRESENT, np.where(dense, ABSENT, UNKNOWN))
        result = np.where(rows != UNKNOWN, rows, np.where(volume == ABSENT, ABSENT, result))
        ruled_out = ((result == ABSENT) | undrawn).all(axis=0)
        result[undrawn & ~((volume == PRESENT) & ruled_out)] = ABSENT
        whole = np.where((result == PRESENT).any(0), PRESENT, np.where((result == ABSENT).all(0), ABSENT, UNKNOWN))
        whole = np.where(volume != UNKNOWN, volume, whole)
        return torch.from_numpy(whole.astype(np.int8)), torch.from_numpy(result.astype(np.int8))

    def _fitting(self, inside: np.ndarray, label: np.ndarray, case: str) -> np.ndarray:
        """Return the boxes of each class with the axes of the label, or refuse others."""
        fitting = inside if inside.ndim == 4 else inside[:, None]
        if fitting.shape != (self.num_classes, *label.shape):
            raise ValueError(
                f"case '{case}': boxes have shape {inside.shape}, but {self.num_classes} classes on a weak label of "
                f"{label.shape} need one channel each; give num_classes to LoadCased, and both maps to every spatial "
                "transform"
            )
        return fitting

    def _given(self, name: str, value: Any, shape: tuple[int, ...], case: str) -> np.ndarray:
        """Return the given tags as an array of ``shape``, all unknown where there are none."""
        if value is None:
            return np.full(shape, UNKNOWN)
        array = np.asarray(convert_to_numpy(value) if isinstance(value, torch.Tensor) else value)
        if array.shape != shape or not np.isin(array, (PRESENT, ABSENT, UNKNOWN)).all():
            raise ValueError(
                f"case '{case}': {name} must have the shape {shape} ([slices,] classes) and hold 1 (present), "
                f"0 (absent) or -1 (unknown) only; got shape {array.shape} with values {np.unique(array).tolist()}"
            )
        return array.astype(int)

    def _refuse_contradictions(
        self, volume: np.ndarray, rows: np.ndarray, drawn: np.ndarray, dense: np.ndarray, case: str
    ) -> None:
        """Refuse tags that cannot be true together with the weak label or with each other."""
        ruled_out = (((rows == ABSENT) | (dense & ~drawn)) & (rows != PRESENT)).all(axis=0)
        for wrong, what in (
            ((rows == ABSENT) & drawn, "its slice tag says absent, but it is drawn there"),
            ((volume == ABSENT) & drawn, "the volume's tag says absent, but it is drawn there"),
            ((volume == ABSENT) & (rows == PRESENT), "the volume's tag says absent, but the slice's says present"),
            ((rows == PRESENT) & dense & ~drawn, "its slice tag says present, but the slice is dense without it"),
            ((volume == PRESENT) & ruled_out[None], "the volume's tag says present, but every slice rules it out"),
        ):
            if wrong.any():
                at, k = (int(i) for i in np.argwhere(wrong)[0])
                raise ValueError(f"case '{case}', class {k}, slice {at}: {what}; correct the tag or the weak label")


class WeakTagsd(MapTransform):
    """Write ``tags`` (K,) and ``slice_tags`` (S, K) of a case, joining what it brings along with its weak label.

    See ``WeakTags`` for the rules. Given slice tags are in the order of the stored file. If the weak label is a
    MetaTensor that was turned or flipped since it was loaded, they are put into the order of its slices. Where they
    are given, or undrawn means absent, the slices have to be those of the file. A box that was drawn (key ``boxes``,
    where the data have it) shows its class as a drawn voxel does.

    Args:
        num_classes: K.
        slice_axis: spatial axis of the slices in the tensor.
        weak_key: key of the weak label.
        tags_key: key of the given volume tags (a list or None) and of the result.
        slice_tags_key: key of the given slice tags (lists or None) and of the result.
        undrawn_key: key that says whether a class that is not drawn is absent.
        id_key: key of the case id, for messages.
        file_axis_key: key of the slice axis in the stored file, that of given slice tags.
        allow_missing_keys: leave a case without a weak label as it is.
    """

    backend = WeakTags.backend

    def __init__(
        self,
        num_classes: int,
        slice_axis: int = 2,
        *,
        weak_key: str = "weak_label",
        tags_key: str = "tags",
        slice_tags_key: str = "slice_tags",
        undrawn_key: str = "undrawn_means_absent",
        id_key: str = "case",
        file_axis_key: str = "slice_axis",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, weak_key, allow_missing_keys)
        self.converter = WeakTags(num_classes, slice_axis)
        self.tags_key, self.slice_tags_key, self.undrawn_key = tags_key, slice_tags_key, undrawn_key
        self.id_key, self.file_axis_key = id_key, file_axis_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the tags of a case; see ``WeakTags`` for what is raised."""
        d = dict(data)
        case = str(d.get(self.id_key, ""))
        for key in self.key_iterator(d):
            rows, undrawn = d.get(self.slice_tags_key), bool(d.get(self.undrawn_key, False))
            axes = d.get(self.file_axis_key, self.converter.slice_axis), self.converter.slice_axis
            what = "the given slice tags" if rows is not None else "the drawn slices"
            if (rows is not None or undrawn) and _slices_are_reversed(d[key], *axes, case, what) and rows is not None:
                rows = rows[::-1]
            d[self.tags_key], d[self.slice_tags_key] = self.converter(
                d[key], d.get(self.tags_key), rows, undrawn, case, d.get("boxes")
            )
        return d


def _slices_are_reversed(weak: Any, file_axis: int, slice_axis: int, case: str, what: str) -> bool:
    """Tell whether the tensor's slices run against the file's, by the affines before and after the transforms."""
    if not isinstance(weak, MetaTensor) or weak.ndim != 4 or "original_affine" not in weak.meta:
        return False
    before = np.asarray(weak.meta["original_affine"])[:3, file_axis]
    after = np.asarray(weak.affine)[:3, slice_axis]
    cosine = float(before @ after / (np.linalg.norm(before) * np.linalg.norm(after)))
    if abs(cosine) < 0.9:
        raise ValueError(
            f"case '{case}': {what} run along axis {file_axis} of the file (slice_axis in dataset.json), which is not "
            f"the tensor's axis {slice_axis}; set slice_axis to where the reorientation put it"
        )
    return cosine < 0
