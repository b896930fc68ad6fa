# SPDX-License-Identifier: Apache-2.0
"""All checks of one case: its files are read one after the other, and only facts are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor

from wss_monai.data.case_entry import Entry
from wss_monai.data.checks.geometry import check_grid, check_nifti, check_same_grid
from wss_monai.data.checks.image import ImageFacts, check_image
from wss_monai.data.checks.maps import MapFacts, check_agreement, check_map, check_segmentation, check_tags
from wss_monai.data.checks.problem import MEND, Problems
from wss_monai.data.label_semantics import UNLABELLED_NAME, class_names_of, names_of
from wss_monai.io.faults import halves_of
from wss_monai.io.grids import Grid, read_grid
from wss_monai.io.labels import is_segmentation
from wss_monai.io.volumes import read_array

__all__ = ["CaseFacts", "check_case"]


@dataclass
class CaseFacts:
    """What is kept of a case, and its problems.

    Attributes:
        entry: the case.
        problems: of this case alone.
        files: (key, absolute path, name in messages) of its files.
        grid: of its first readable file; None where there is none, or its geometry is broken.
        images: one of each readable modality, by its place.
        dense: class name -> voxels of the dense label; None where it has none that could be read.
        weak: the same for the weak label, with "unlabelled".
        tagged: classes tagged present, in the volume or in a slice.
        undrawn: (slices in which a class shows, is not drawn, and something else is; slices in which a class shows
            and something is drawn), each counted once for every class.
    """

    entry: Entry
    problems: Problems
    files: list[tuple[str, str, str]] = field(default_factory=list)
    grid: Grid | None = None
    images: dict[int, ImageFacts] = field(default_factory=dict)
    dense: dict[str, int] | None = None
    weak: dict[str, int] | None = None
    tagged: set[str] = field(default_factory=set)
    undrawn: tuple[int, int] = (0, 0)


def check_case(entry: Entry, quick: bool = False, labels_known: bool = True) -> CaseFacts:
    """Check the files, maps and tags of one case.

    Args:
        entry: the case.
        quick: read headers only.
        labels_known: False: the data set's `labels` are broken, so that values are not checked.

    Returns:
        What was found. Nothing is raised for faults of the data.
    """
    facts = CaseFacts(entry, Problems(entry.name))
    slice_axis = entry.dataset.slice_axis
    maps: dict[str, MapFacts] = {}
    first: tuple[Grid, str] | None = None
    for key, position, path, shown in _files(entry):
        facts.files.append((key, os.path.realpath(path), shown))
        segmented = key != "image" and is_segmentation(path)
        array, grid = _read(path, shown, quick or segmented, facts.problems)
        if grid is None:
            continue
        same = True
        if first is None:
            first = grid, shown
            before = len(facts.problems)
            check_grid(grid, slice_axis, shown, facts.problems)
            broken = any(problem.severity == "error" for problem in facts.problems[before:])
            facts.grid = None if broken else grid
        elif not segmented:
            same = check_same_grid(grid, shown, *first, facts.problems)
        if key == "image":
            image = None if array is None else check_image(array, shown, facts.problems)
            if image is not None:
                facts.images[position] = image
        elif labels_known and not quick:
            found = _check_map(entry, key == "weak_label", array, path, shown, facts)
            if found is not None and same:
                maps[key] = found
        del array
    _compare(facts, maps)
    return facts


def _check_map(
    entry: Entry, weak: bool, array: np.ndarray | None, path: str, shown: str, facts: CaseFacts
) -> MapFacts | None:
    """Check a label map, or a segmentation where there is no array, and count its voxels."""
    dataset, case = entry.dataset, entry.case
    own, meaning = dataset.labels_of(case), dataset.weak_of(case)
    values = [name for meant in meaning.values.values() for name in names_of(meant)]
    said = [*values, *meaning.segments.values(), *dataset.segments_of(case).values()]
    names = list(dict.fromkeys([*class_names_of(own), *(name for name in said if name != UNLABELLED_NAME)]))
    if array is not None:
        found = check_map(array, meaning.values if weak else own, names, weak, shown, facts.problems)
    elif facts.grid is not None and is_segmentation(path):
        segments = meaning.segments if weak else dataset.segments_of(case)
        found = check_segmentation(path, facts.grid, segments, names, weak, shown, facts.problems)
    else:
        return None
    if found is not None and weak:
        facts.weak = found.voxels
    elif found is not None:
        facts.dense = found.voxels
    return found


def _compare(facts: CaseFacts, maps: dict[str, MapFacts]) -> None:
    """Compare the case's maps and tags with each other."""
    case, dataset = facts.entry.case, facts.entry.dataset
    tags, rows = case.get("tags"), case.get("slice_tags")
    names = class_names_of(dataset.labels_of(case))
    for row in ([tags] if tags is not None else []) + (rows or []):
        facts.tagged |= {name for name, tag in zip(names, row, strict=True) if tag == 1}
    shape = None if facts.grid is None else facts.grid.shape
    check_tags(tags, rows, shape, dataset.slice_axis, list(maps.values()), facts.problems)
    if "label" in maps and "weak_label" in maps:
        dense, weak, meaning = maps["label"], maps["weak_label"], dataset.weak_of(case)
        check_agreement(dense, weak, meaning.traits.partial, facts.problems)
        if meaning.undrawn_means_absent and meaning.traits.partial:
            facts.undrawn = _undrawn(dense, weak, dataset.slice_axis)


def _undrawn(dense: MapFacts, weak: MapFacts, slice_axis: int) -> tuple[int, int]:
    """Count the classes, slice by slice, that show although they are not drawn, and all that show."""
    if slice_axis >= dense.index.ndim:
        return 0, 0
    shown, drawn = dense.shows(slice_axis)[:, 1:], weak.shows(slice_axis)
    shown = shown * drawn.any(axis=1, keepdims=True)
    return int(np.sum((shown == 1) & (drawn[:, 1:] == 0))), int(shown.sum())


def _files(entry: Entry) -> list[tuple[str, int, str, str]]:
    """List key, place among the modalities, absolute path and written path of a case's files, images first."""
    found = []
    for key in ("image", "label", "weak_label"):
        paths: Any = entry.dataset.file_of(entry.case, key)
        written = entry.case.get(key)
        if paths is None:
            continue
        if isinstance(paths, str):
            paths, written = [paths], [written]
        found += [(key, i, path, str(name)) for i, (path, name) in enumerate(zip(paths, written or [], strict=True))]
    return found


def _read(path: str, shown: str, quick: bool, problems: Problems) -> tuple[np.ndarray | None, Grid | None]:
    """Read a file; the array is None where only the header could, or should, be read."""
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        problems.error("unreadable", "is empty (0 bytes)", MEND, shown)
        return None, None
    try:
        grid = read_grid(path)
        check_nifti(path, shown, problems)
    except (ValueError, OSError) as error:
        what, todo = halves_of(error)
        problems.error("unreadable", what, todo or MEND, shown)
        return None, None
    if quick:
        return None, grid
    try:
        with LoggingOutputSuppressor():  # what nibabel says of headers is said here by name
            array, affine = read_array(path)
    except (ValueError, OSError) as error:
        if np.isfinite(grid.affine).all() and abs(np.linalg.det(grid.affine)) >= 1e-12:  # else check_grid says it
            what, todo = halves_of(error)
            problems.error("unreadable", f"cannot be read: {what}", todo or MEND, shown)
        return None, grid
    return array, Grid(array.shape, affine)
