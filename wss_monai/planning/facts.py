# SPDX-License-Identifier: Apache-2.0
"""What a plan needs to know of a data set: grids, where labels lie, how large and in how many pieces organs are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from wss_monai.data import Dataset
from wss_monai.data.datalist import list_cases
from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.kinds import WeakKind
from wss_monai.io.grids import spacing_of
from wss_monai.transforms import LoadCased

__all__ = ["CaseFacts", "DataFacts", "read_facts"]

Progress = Callable[[Iterable[dict[str, Any]]], Iterable[dict[str, Any]]]


@dataclass(frozen=True)
class CaseFacts:
    """What is kept of a case.

    Attributes:
        case: its id.
        patient: the person.
        shape: voxels along each axis.
        spacing: mm along each axis.
        channels: number of images.
        kind: of its weak label; "dense" where it has a dense label and no weak one.
        dense: whether it has a dense label.
        reach: class index -> (axes,), the largest distance from the centre of the volume, mm, of the voxels that are
            drawn; of a case without a weak label, those of its dense one.
        areas: class index -> areas in mm2 of the slices that show it, from the dense label.
        volumes: class index -> ml, from the dense label.
        largest: class index -> part of it in its largest connected component, from the dense label.
    """

    case: str
    patient: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    channels: int
    kind: WeakKind
    dense: bool
    reach: dict[int, np.ndarray]
    areas: dict[int, np.ndarray]
    volumes: dict[int, float]
    largest: dict[int, float]


@dataclass(frozen=True)
class DataFacts:
    """What is known of a data set.

    Attributes:
        dataset: its description.
        class_names: background first.
        cases: one of each case that has an image.
    """

    dataset: Dataset
    class_names: list[str]
    cases: list[CaseFacts]

    def median(self, values: Callable[[CaseFacts], Any]) -> np.ndarray:
        """Median over the cases, by axis."""
        return np.median([values(case) for case in self.cases], axis=0)

    @property
    def kinds(self) -> set[WeakKind]:
        """Kinds of the weak labels of all cases that have any."""
        return {case.kind for case in self.cases} - {WeakKind.NOTHING}


def read_facts(dataset: Dataset, progress: Progress | None = None) -> DataFacts:
    """Read all cases of a data set, one after the other.

    Args:
        dataset: as `read_dataset` gives it.
        progress: wraps the cases as they come.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file cannot be read or does not fit; a case of two axes.
    """
    names = list(dataset.class_names)
    cases = list_cases(dataset, names)
    return DataFacts(dataset, names, [_facts(case, len(names)) for case in (progress or iter)(cases)])


def _facts(case: dict[Any, Any], classes: int) -> CaseFacts:
    read: dict[Any, Any] = LoadCased(num_classes=classes)(case)
    shape = tuple(read["image"].shape[1:])
    if len(shape) != 3:
        raise ValueError(f"case '{case['case']}' has {len(shape)} axes: a plan is made for volumes, which have 3.")
    spacing = np.asarray(spacing_of(read["image"]))
    label, weak = (np.asarray(read[key][0]).astype(np.uint8) for key in ("label", "weak_label"))
    boxes = np.asarray(read["boxes"]) if "boxes" in read else None
    axis, dense = int(case["slice_axis"] or 0), case["label"] is not None
    facts: dict[str, dict[int, Any]] = {"reach": {}, "areas": {}, "volumes": {}, "largest": {}}
    for index in range(classes):
        drawn = weak == index  # of a dense label alone where the case has no weak one: the other is there to score
        if boxes is not None and index:
            drawn = drawn | ((boxes[index] > 0) & (boxes[index] != UNLABELLED))
        if drawn.any():
            facts["reach"][index] = _reach(drawn) * spacing
        if dense and index and (mask := label == index).any():
            across = tuple(a for a in range(3) if a != axis)
            by_slice = mask.sum(axis=across)
            facts["areas"][index] = by_slice[by_slice > 0] * float(np.prod(spacing[list(across)]))
            facts["volumes"][index] = float(mask.sum() * np.prod(spacing) / 1000)
            facts["largest"][index] = _largest(mask)
    kind = WeakKind.of(case["weak_kind"])
    if case["weak_label"] is None and kind.traits.drawn:
        tagged = case["tags"] is not None or case["slice_tags"] is not None
        kind = WeakKind.DENSE if dense else WeakKind.TAGS if tagged else WeakKind.NOTHING
    channels = int(read["image"].shape[0])
    return CaseFacts(case["case"], case["patient"], shape, tuple(spacing.tolist()), channels, kind, dense, **facts)


def _reach(mask: np.ndarray) -> np.ndarray:
    """Largest distance of the voxels from the centre of the volume, in voxels (axes,)."""
    out = []
    for axis, length in enumerate(mask.shape):
        there = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        centre = (length - 1) / 2
        out.append(max(abs(there[0] - centre), abs(there[-1] - centre)) + 0.5)
    return np.asarray(out)


def _largest(mask: np.ndarray) -> float:
    """Part of the voxels that lies in the largest component, neighbours by corners included."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    return 1.0 if count < 2 else float(np.bincount(labels.ravel())[1:].max() / mask.sum())
