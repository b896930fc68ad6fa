# SPDX-License-Identifier: Apache-2.0
"""Checks of a case's label maps and tags: values, emptiness, and whether they agree with each other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wss_monai.data.checks.problem import MEND, Problems
from wss_monai.data.label_semantics import UNLABELLED_NAME, Meant, names_of
from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.box_maps import index_of_sets
from wss_monai.functional.weak.generators import present_classes
from wss_monai.io.faults import Fault, FormatFault, halves_of
from wss_monai.io.grids import Grid
from wss_monai.io.labels import read_label, whole_numbers

__all__ = ["MapFacts", "check_agreement", "check_map", "check_segmentation", "check_tags"]

WRONG_SHARE = 0.02
"""A weak label may differ from the dense one in this share of its voxels: people slip at borders."""
CHUNK = 1 << 20
"""Voxels that are counted at a time."""
MANY = 8
"""Values beyond this many are not listed."""


@dataclass(frozen=True)
class MapFacts:
    """What is known of a label map.

    Attributes:
        shown: its name in messages.
        index: class indices along `names`, 255 where nothing is known, uint8 (*spatial); in a map of boxes also
            len(names) + j, the classes of set number j.
        names: the case's classes.
        voxels: class name, or "unlabelled", -> number of voxels; classes of the map that do not occur have 0.
        weak: whether it is a weak label.
        sets: classes whose boxes overlap somewhere.
    """

    shown: str
    index: np.ndarray
    names: Sequence[str]
    voxels: dict[str, int]
    weak: bool
    sets: Sequence[Sequence[int]] = ()

    def shows(self, slice_axis: int | None = None) -> np.ndarray:
        """Tell which classes the map shows, int8 (K,) or by slice (S, K)."""
        count = len(self.names)
        found = present_classes(self.index, count + len(self.sets), slice_axis)
        for number, classes in enumerate(self.sets):
            found[..., list(classes)] |= found[..., count + number, None]
        return found[..., :count]


def check_map(
    array: np.ndarray, values: Mapping[int, Meant], names: Sequence[str], weak: bool, shown: str, problems: Problems
) -> MapFacts | None:
    """Check the values of a label map.

    Args:
        array: (*spatial), as stored.
        values: file value -> class name or "unlabelled"; of boxes also several names.
        names: the case's classes.
        weak: whether it is a weak label.
        shown: its name in messages.
        problems: grows.

    Returns:
        What it holds; None where values are unknown.
    """
    try:
        flat = whole_numbers(array).reshape(-1)
    except FormatFault as fault:
        problems.error(fault.kind, fault.problem, fault.todo, shown)
        return None
    seen = _histogram(flat)
    unknown = [value for value in seen if value not in values]
    if unknown:
        _report_unknown(unknown, seen, values, weak, shown, problems)
        return None
    known = np.array(sorted(values))
    place = {name: k for k, name in enumerate(names)} | {UNLABELLED_NAME: UNLABELLED}
    meant = {value: [place[name] for name in names_of(meaning)] for value, meaning in values.items()}
    indices, sets = index_of_sets(meant, len(names))
    table = np.array([indices[v] for v in known.tolist()])
    voxels = {name: 0 for meaning in values.values() for name in names_of(meaning)}
    for value, count in seen.items():
        for name in names_of(values[value]):
            voxels[name] += count
    index = np.empty(flat.shape, np.uint8)
    for start in range(0, flat.size, CHUNK):
        part = slice(start, start + CHUNK)
        index[part] = table[np.searchsorted(known, flat[part])]
    facts = MapFacts(shown, index.reshape(array.shape), names, voxels, weak, sets)
    _check_empty(facts, problems)
    return facts


def _histogram(flat: np.ndarray) -> dict[int, int]:
    """Count the values of a map of whole numbers, (N,), piece by piece, since int64 takes much memory."""
    seen: Counter[int] = Counter()
    for start in range(0, flat.size, CHUNK):
        values, counts = np.unique(flat[start : start + CHUNK], return_counts=True)
        seen.update({int(value): int(count) for value, count in zip(values, counts, strict=True)})
    return dict(sorted(seen.items()))


def check_segmentation(
    path: str,
    grid: Grid,
    segments: Mapping[str, str],
    names: Sequence[str],
    weak: bool,
    shown: str,
    problems: Problems,
) -> MapFacts | None:
    """Check a segmentation of 3D Slicer, whose segments have names and whose grid may be a part of the image's.

    Args:
        path: the file.
        grid: of the image.
        segments: segment name -> class name or "unlabelled", beside the classes' own names.
        names: the case's classes.
        weak: whether it is a weak label.
        shown: its name in messages.
        problems: grows.

    Returns:
        What it holds on the image's grid; None where that cannot be said.
    """
    import torch
    from monai.data import MetaTensor

    classes = {name: k for k, name in enumerate(names)} | ({UNLABELLED_NAME: UNLABELLED} if weak else {})
    meaning = classes | {segment: classes[name] for segment, name in segments.items()}
    image = MetaTensor(torch.zeros(1).expand(1, *grid.shape), affine=torch.from_numpy(grid.affine))
    try:
        label = read_label(path, image, None, meaning, UNLABELLED if weak else 0, "the image")
    except (ValueError, OSError) as error:
        what, todo = halves_of(error)
        problems.error(error.kind if isinstance(error, Fault) else "values", what, todo or MEND, shown)
        return None
    index = np.asarray(label)[0]
    counts = np.bincount(index.reshape(-1), minlength=UNLABELLED + 1)
    facts = MapFacts(shown, index, names, {name: int(counts[k]) for name, k in classes.items()}, weak)
    _check_empty(facts, problems)
    return facts


def _report_unknown(
    unknown: list[int], seen: Mapping[int, int], values: Mapping[int, Meant], weak: bool, shown: str, problems: Problems
) -> None:
    key = "weak_label.values" if weak else "labels"
    guess = {v: UNLABELLED_NAME if weak and v in (0, UNLABELLED) else "NAME" for v in unknown[:MANY]}
    whole = json.dumps({str(v): name for v, name in sorted({**values, **guess}.items())}, ensure_ascii=False)
    shares = ", ".join(f"{v} ({seen[v]} voxels)" for v in unknown[:MANY])
    more = f" and {len(unknown) - MANY} more" if len(unknown) > MANY else ""
    problems.error(
        "values",
        f"holds the values {_listed(list(seen))}; '{key}' does not name {shares}{more}",
        f'write "{key}": {whole}, or correct the file',
        shown,
    )


def _listed(values: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, values[:MANY])) + (", ...]" if len(values) > MANY else "]")


def _check_empty(facts: MapFacts, problems: Problems) -> None:
    drawn = sum(count for name, count in facts.voxels.items() if name != UNLABELLED_NAME)
    if facts.weak and drawn == 0:
        problems.warning(
            "empty_label", "nothing is drawn in it", "draw something, or leave 'weak_label' out", facts.shown
        )
    elif not facts.weak and facts.voxels.get(facts.names[0], 0) == drawn:
        problems.warning(
            "empty_label", "shows background alone", "right if the case has none of the classes; else save it again",
            facts.shown,
        )  # fmt: skip


def check_agreement(dense: MapFacts, weak: MapFacts, partial: bool, problems: Problems) -> None:
    """Compare a weak label with the dense one, where something is drawn.

    The inside of a box is not all organ, so of boxes only what is drawn as background is compared.

    Args:
        dense: the dense label.
        weak: the weak label, of the same shape.
        partial: whether the inside of what is drawn is all organ.
        problems: grows.
    """
    drawn = weak.index != UNLABELLED
    if not partial:
        drawn &= weak.index == 0
    total = int(drawn.sum())
    wrong = drawn & (weak.index != dense.index)
    count = int(wrong.sum())
    if total == 0 or count <= WRONG_SHARE * total:
        return
    pairs, numbers = np.unique(
        np.stack([weak.index[wrong], dense.index[wrong]]).astype(np.int64), axis=1, return_counts=True
    )
    drawn_as, is_class = pairs[:, numbers.argmax()].tolist()
    problems.warning(
        "weak_against_dense",
        f"{count / total:.1%} of its drawn voxels ({count} of {total}) contradict {dense.shown}, most often "
        f"'{weak.names[drawn_as]}' where that says '{dense.names[is_class]}'",
        "check 'weak_label.values' and the drawing" if count > total / 2 else "correct the drawing or the mask",
        weak.shown,
    )


def check_tags(
    tags: Sequence[int] | None,
    rows: Sequence[Sequence[int]] | None,
    shape: Sequence[int] | None,
    slice_axis: int,
    maps: Sequence[MapFacts],
    problems: Problems,
) -> None:
    """Compare tags with the label maps.

    Args:
        tags: (K,), None where the case has none.
        rows: slice tags (S, K), None where the case has none.
        shape: voxels along each axis, None where unknown.
        slice_axis: along which slices are tagged.
        maps: the case's readable label maps.
        problems: grows.
    """
    if rows is not None and shape is not None and slice_axis < len(shape) and len(rows) != shape[slice_axis]:
        problems.error(
            "tags",
            f"'slice_tags' has {len(rows)} rows, but the volume has {shape[slice_axis]} slices along axis {slice_axis}",
            "give one row a slice, or correct 'slice_axis'",
        )
        rows = None
    for facts in maps:
        for key, said, axis in (("tags", tags, None), ("slice_tags", rows, slice_axis)):
            if said is not None:
                shown = np.atleast_2d(facts.shows(axis))
                rows_said = np.atleast_2d(np.asarray(said))
                _compare(key, rows_said, shown[:, : rows_said.shape[1]], facts, problems)


def _compare(key: str, said: np.ndarray, shown: np.ndarray, facts: MapFacts, problems: Problems) -> None:
    """Report classes tagged absent that a map shows, and classes tagged present that a dense map lacks."""
    wrong = {"absent, but shown": (said == 0) & (shown == 1)}
    if not facts.weak:
        wrong["present, but not shown"] = (said == 1) & (shown == 0)
    for what, where in wrong.items():
        for k in np.flatnonzero(where.any(axis=0)).tolist():
            slices = np.flatnonzero(where[:, k]).tolist()
            place = f" in slices {_listed(slices)}" if key == "slice_tags" else ""
            problems.error(
                "tags",
                f"'{key}' says that '{facts.names[k]}' is {what} by this map{place}",
                "correct the tag or the map; the order of tags is that of the classes",
                facts.shown,
            )
