# SPDX-License-Identifier: Apache-2.0
"""Read the files of a scored case and draw them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.data import MetaTensor
from PIL import Image

from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.box_maps import index_of_sets, split_index, visible_index
from wss_monai.io.grids import spacing_of
from wss_monai.io.labels import read_label
from wss_monai.io.volumes import read_volume
from wss_monai.report.panels import case_panel, shown_slices
from wss_monai.report.run_folder import Run, find_file
from wss_monai.transforms.load_case import MAPS

__all__ = ["ScoredCase", "read_case", "run_panel"]


@dataclass(frozen=True)
class ScoredCase:
    """The volumes of a scored case, on the image's grid.

    Attributes:
        image: grey values (X, Y[, Z]); of several modalities the first.
        maps: class-index maps by title, in the order "weak label", the runs' names, "reference"; what a case does not
            have is left out.
        spacing: voxel size in mm, one number an axis.
        affine: voxel to RAS+ mm (4, 4).
        slice_axis: array axis across the slices.
        trusted: titles of the reference and of the weak label, in this order, where they hold any foreground.
    """

    image: np.ndarray
    maps: dict[str, np.ndarray]
    spacing: list[float]
    affine: np.ndarray
    slice_axis: int
    trusted: list[str]


def read_case(runs: Sequence[Run], entries: Sequence[dict[str, Any]]) -> ScoredCase:
    """Read the files of one case: image, weak label, the prediction of each run, reference.

    Args:
        runs: evaluated runs.
        entries: the entry of the case in each run's cases.json.

    Raises:
        FileNotFoundError: if a file of the case is missing.
        ValueError: if a map's shape or values do not fit.
    """
    entry, names = entries[0], runs[0].class_names
    scan = read_volume(find_file(runs[0], entry.get("image")))
    image = scan.numpy()
    maps: dict[str, np.ndarray] = {}
    if entry.get("weak_label"):
        maps["weak label"] = _read_map(runs[0], entry, "weak_label", scan)
    for run, of_run in zip(runs, entries, strict=True):
        maps[run.name] = _read_map(run, of_run, "prediction", scan)
    if entry.get("label"):
        maps["reference"] = _read_map(runs[0], entry, "label", scan)
    known = [key for key in ("reference", "weak label") if key in maps]
    trusted = [str(key) for key in known if np.isin(maps[key], range(1, len(names))).any()]
    spacing = spacing_of(scan[None])
    axis = int(entry.get("slice_axis", 2)) if image.ndim > 2 else 2
    return ScoredCase(image, maps, spacing, scan.affine.numpy(), axis, trusted)


def run_panel(runs: Sequence[Run], entries: Sequence[dict[str, Any]]) -> Image.Image:
    """Draw one case: image, weak label, the prediction of each run, reference.

    Args:
        runs: evaluated runs.
        entries: the entry of the case in each run's cases.json.

    Raises:
        FileNotFoundError, ValueError: as `read_case`.
    """
    case = read_case(runs, entries)
    tile = int(np.clip(2400 / (len(case.maps) + 1), 240, 420))
    order = [case.maps[key] for key in (*case.trusted, *case.maps)]
    return case_panel(
        case.image,
        case.maps,
        case.spacing,
        runs[0].class_names,
        affine=case.affine,
        slice_axis=case.slice_axis,
        slices=[0] if case.image.ndim == 2 else shown_slices(order, case.slice_axis),
        tile=tile,
        around=case.trusted[:1] or None,
    )


def _read_map(run: Run, entry: Mapping[str, Any], key: str, scan: MetaTensor) -> np.ndarray:
    """Read a map of a case as class indices on the image's grid; of overlapping boxes the smallest is seen."""
    values, segments, undrawn = MAPS.get(key, ("", "", 0))
    path = find_file(run, entry.get(key))
    meant = {int(float(value)): index for value, index in (entry.get(values) or {}).items()}
    table, sets = index_of_sets(meant, len(run.class_names))
    translated = {0: 0, UNLABELLED: UNLABELLED, **table} if table else None
    image: Any = scan[None]
    index = read_label(path, image, translated, entry.get(segments), undrawn, squeezed=True)[0].numpy()
    return visible_index(split_index(index, sets, len(run.class_names))) if sets else index
