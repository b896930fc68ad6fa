# SPDX-License-Identifier: Apache-2.0
"""What the dense and the weak label of a case measure, side by side."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from monai.data import MetaTensor
from scipy.ndimage import distance_transform_edt

from wss_monai.io.grids import spacing_of
from wss_monai.transforms import LoadCased, WeakTagsd
from wss_monai.transforms.bounds.estimated import WeakCuesd, middle_of, to_voxels

__all__ = ["CaseMeasures", "measure_cases"]


@dataclass(frozen=True)
class CaseMeasures:
    """Measures of one case with S slices and K classes.

    Attributes:
        patient, case: who and which.
        kind: what the weak label shows, "scribble", "box" or "position".
        cues: (S, K, 3) as `wss_monai.functional.weak.features` measures them.
        present: (S, K) whether tags or weak label say that the class is there.
        thickness: distance of the slices in mm.
        area: (S, K) of the dense label, mm2.
        offset: (S, K) distance in mm of the dense centroid from the weak label's place, the largest over the axes; NaN
            where the dense label does not show the class.
        extent: (S, K) distance in mm of the farthest voxel of the dense label from what is drawn of the class; NaN
            where either is missing.
        volume: (K,) of the dense label, ml.
        volume_offset: (K,) as ``offset``, for the whole volume.
    """

    patient: str
    case: str
    kind: str
    cues: np.ndarray
    present: np.ndarray
    thickness: float
    area: np.ndarray
    offset: np.ndarray
    extent: np.ndarray
    volume: np.ndarray
    volume_offset: np.ndarray


def measure_cases(
    cases: Sequence[dict[str, Any]], num_classes: int, slice_axis: int, kind: str | None = None
) -> list[CaseMeasures]:
    """Read the cases and measure both labels.

    Args:
        cases: case dictionaries of the data list, each with a dense label.
        num_classes: K.
        slice_axis: spatial axis of the slices.
        kind: use the cues of this kind only; None: those of each case's weak label.

    Raises:
        FileNotFoundError, ValueError: as `LoadCased`; a case without weak label where cues are wanted that it lacks.
    """
    load = LoadCased(keys=["image", "weak_label", "label"])
    tag, cue = WeakTagsd(num_classes, slice_axis), WeakCuesd(num_classes, slice_axis)
    out = []
    for case in cases:
        if case.get("label") is None:
            raise ValueError(f"case '{case['case']}' has no dense label to fit bounds on.")
        bare = case.get("weak_label") is None
        if bare and (kind or "scribble") != "position":
            raise ValueError(
                f"case '{case['case']}' has a dense label but no weak one, so that nothing says how its size shows in "
                "a scribble or box; draw one, make one with `python -m wss_monai weaken`, or fit on position and tags "
                "alone with --cues position."
            )
        out.append(_measure(cue(tag(load(cast(dict[Hashable, Any], case)))), num_classes, slice_axis, kind))
    return out


def _measure(data: Mapping[Hashable, Any], num_classes: int, slice_axis: int, kind: str | None) -> CaseMeasures:
    label: MetaTensor = data["label"]
    spacing = np.array(spacing_of(label))
    index = np.asarray(label)[0]
    flat = index.ndim == 2
    weak = np.asarray(data["weak_label"])[0]
    slices, drawn = (m[None] if flat else np.moveaxis(m, slice_axis, 0) for m in (index, weak))
    axes = [axis for axis in range(index.ndim) if flat or axis != slice_axis]
    thickness = 1.0 if flat else float(spacing[slice_axis])
    places = data["places"].numpy()
    voxels = to_voxels(places, label)
    shape = (len(slices), num_classes)
    area, offset, extent = np.zeros(shape), np.full(shape, np.nan), np.full(shape, np.nan)
    volume, volume_offset = np.zeros(num_classes), np.full(num_classes, np.nan)
    present = data["slice_tags"].numpy() == 1
    cues = data["cues"].numpy()
    for k in range(1, num_classes):
        for number, plane in enumerate(slices):
            at = np.argwhere(plane == k)
            area[number, k] = len(at) * spacing[axes].prod()
            if len(at):
                offset[number, k] = (np.abs(at.mean(0) - voxels[number, k, axes]) * spacing[axes]).max()
                if (drawn[number] == k).any():
                    away = distance_transform_edt(drawn[number] != k, sampling=spacing[axes])
                    extent[number, k] = away[plane == k].max()
        whole = np.argwhere(index == k)
        volume[k] = len(whole) * spacing.prod() / 1000
        if len(whole) and present[:, k].any():
            middle = to_voxels(middle_of(places[:, k], cues[:, k], present[:, k]), label)
            volume_offset[k] = (np.abs(whole.mean(0) - middle) * spacing).max()
    return CaseMeasures(
        data["patient"], data["case"], kind or data["cue_kind"], cues, present, thickness, area, offset, extent, volume,
        volume_offset,
    )  # fmt: skip
