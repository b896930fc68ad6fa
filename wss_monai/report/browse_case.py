# SPDX-License-Identifier: Apache-2.0
"""Pack the slices of a scored case into a dictionary that a page's script can draw."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from wss_monai.functional import UNLABELLED
from wss_monai.report.panels import as_volumes, crop_box, display_view, grey_window, outside
from wss_monai.report.run_folder import Run
from wss_monai.report.run_panels import ScoredCase, read_case
from wss_monai.report.template import as_png_address

__all__ = ["pack_case", "run_lengths", "slices_to_show"]


def pack_case(
    runs: Sequence[Run], entries: Sequence[dict[str, Any]], slices: int, crop: float | None = None
) -> dict[str, Any]:
    """Read a case and pack it.

    Grey values are packed as PNG of 8 bits, class indices as run lengths, both turned for display as in the report.

    Args:
        runs: evaluated runs.
        entries: the entry of the case in each run's cases.json.
        slices: how many slices at most.
        crop: margin in mm around the reference; None: whole slices.

    Returns:
        ``id``, ``about``, ``width`` and ``height`` in pixels, ``pixel`` (width and height of one in mm), ``edges``
        (letters at the left and top), ``total`` slices of the volume, ``zoom`` (left, top, width, height around what is
        drawn, in pixels), ``titles`` of the maps, ``partial`` titles, ``scores`` (by run, a dictionary for each class,
        and for "mean" of several with Dice: "class", and what is known of "dice", "hd95", "ml", "reference" and
        "strokes"), ``slices`` (``number`` from 1, ``image``, ``maps`` and ``outside`` by title), and ``bytes``: how
        large the slices are.

    Raises:
        FileNotFoundError: if a file of the case is missing.
        ValueError: if a map's shape or values do not fit.
    """
    case, entry = read_case(runs, entries), entries[0]
    image, maps, size = as_volumes(case.image, case.maps, case.spacing, runs[0].class_names)
    view = display_view(case.affine, case.slice_axis)
    trusted = [maps[title] for title in case.trusted[:1]] or list(maps.values())
    whole = (slice(None), slice(None))
    rows, columns = whole if crop is None else crop_box(trusted, view, size, image.shape, crop)
    chosen = slices_to_show(list(maps.values()), case.slice_axis, slices)
    low, high = grey_window(image, chosen, case.slice_axis)

    packed: list[dict[str, Any]] = []
    for index in chosen:
        grey = np.clip((view.slice_of(image, index)[rows, columns] - low) / (high - low), 0, 1)
        planes = {title: view.slice_of(volume, index) for title, volume in maps.items()}
        hidden = {title: outside(plane, plane[rows, columns]) for title, plane in planes.items()}
        packed.append(
            {
                "number": index + 1,
                "image": as_png_address(Image.fromarray((grey * 255).round().astype(np.uint8))),
                "maps": {title: run_lengths(plane[rows, columns]) for title, plane in planes.items()},
                "outside": {title: text for title, text in hidden.items() if text},
            }
        )
    height, width = grey.shape
    return {
        "id": str(entry["case"]),
        "about": ", ".join(str(entry[key]) for key in ("group", "phase") if entry.get(key)),
        "width": width,
        "height": height,
        "pixel": [float(size[view.column_axis]), float(size[view.row_axis])],
        "edges": list(view.edges),
        "total": image.shape[case.slice_axis],
        "zoom": _zoom(case, maps, size, rows, columns),
        "titles": list(maps),
        "partial": [title for title, volume in maps.items() if (volume == UNLABELLED).any()],
        "scores": {run.name: _scores(run, str(entry["case"])) for run in runs},
        "slices": packed,
        "bytes": sum(len(part["image"]) + sum(map(len, part["maps"].values())) for part in packed),
    }


def slices_to_show(volumes: Sequence[np.ndarray], slice_axis: int, number: int) -> list[int]:
    """Choose slices, evenly spread over all that show any foreground and one on each side; over all where none does.

    Args:
        volumes: class-index maps (X, Y, Z).
        slice_axis: array axis across the slices.
        number: how many at most.
    """
    other = tuple(axis for axis in range(3) if axis != slice_axis)
    total = volumes[0].shape[slice_axis]
    drawn = np.zeros(total, dtype=bool)
    for volume in volumes:
        drawn |= ((volume > 0) & (volume != UNLABELLED)).any(axis=other)
    hit = np.flatnonzero(drawn)
    first, last = (max(0, hit[0] - 1), min(total - 1, hit[-1] + 1)) if len(hit) else (0, total - 1)
    if number == 1:
        return [int(first + last) // 2]
    return sorted({round(float(at)) for at in np.linspace(first, last, min(number, last - first + 1))})


def run_lengths(plane: np.ndarray) -> str:
    """Pack a class-index plane (rows, columns) as base64 of pairs of bytes: a value and how often it follows, 1 to 255.

    A script reads them without decoding a picture, whose pixels some browsers alter to hide who is looking.
    """
    flat = np.ascontiguousarray(plane, dtype=np.uint8).ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0])) if len(flat) else np.zeros(0, dtype=int)
    starts = np.concatenate([[0], starts]) if len(flat) else starts
    lengths = np.diff(np.append(starts, len(flat)))
    pieces = -(-lengths // 255)
    counts = np.full(pieces.sum(), 255)
    counts[np.cumsum(pieces) - 1] = lengths - 255 * (pieces - 1)
    pairs = np.stack([np.repeat(flat[starts], pieces), counts], axis=1).astype(np.uint8)
    return base64.b64encode(pairs.tobytes()).decode("ascii")


def _zoom(case: ScoredCase, maps: dict[str, np.ndarray], size: np.ndarray, rows: slice, columns: slice) -> list[int]:
    """Give the box around the reference, in pixels of what is shown: left, top, width, height."""
    view, shape = display_view(case.affine, case.slice_axis), next(iter(maps.values())).shape
    trusted = [maps[title] for title in case.trusted[:1]] or list(maps.values())
    box = []
    inner = crop_box(trusted, view, size, shape)
    for inside, shown, axis in zip(inner, (rows, columns), (view.row_axis, view.column_axis), strict=True):
        first, last, _ = shown.indices(shape[axis])
        start, stop, _ = inside.indices(shape[axis])
        start, stop = max(start, first), min(stop, last)
        box.append((start - first, stop - start))
    (top, height), (left, width) = box
    return [left, top, width, height]


COLUMNS = {
    "dice": "dice",
    "hd95_mm": "hd95",
    "volume_ml": "ml",
    "reference_ml": "reference",
    "stroke_recall": "strokes",
}
"""Columns of cases.csv and what the page's script calls them."""


def _scores(run: Run, case: str) -> list[dict[str, Any]]:
    """Give what is known of a case by class, after the mean of Dice where there are several."""
    rows = [row for row in run.cases if row["case"] == case]
    found = [
        {"class": str(row["class"]), **{word: float(row[key]) for key, word in COLUMNS.items() if key in row}}
        for row in rows
    ]
    dice = [float(row["dice"]) for row in rows if "dice" in row]
    return [{"class": "mean", "dice": float(np.mean(dice))}, *found] if len(dice) > 1 else found
