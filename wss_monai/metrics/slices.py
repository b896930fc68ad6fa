# SPDX-License-Identifier: Apache-2.0
"""Overlap and size difference of the slices of label volumes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wss_monai.functional import UNLABELLED
from wss_monai.metrics.overlap import overlap
from wss_monai.metrics.volumes import checked_label, checked_map, mean_of

__all__ = ["slice_metrics", "summarize_slices"]


def slice_metrics(
    prediction: np.ndarray, label: np.ndarray, slice_axis: int, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Compare the slices of a predicted volume with those of its dense reference, class by class.

    Voxels with the label 255 belong to neither mask, and slices without any known voxel are left out. A class that is
    in neither mask of a slice has Dice and IoU 1 there, as published, and ``empty`` 1. A slice is positive for a class
    that its reference shows.

    Args:
        prediction: class indices (X, Y[, Z]), integers 0..K-1; a 2D map is one slice.
        label: reference class indices of the same shape, 0..K-1 or 255.
        slice_axis: axis across the slices.
        class_names: names of the K classes, background first.

    Returns:
        One row for each slice and foreground class: ``slice`` (from 0), ``class``, ``dice``, ``iou``,
        ``size_difference`` (voxels, prediction - reference), ``empty``, ``positive``.

    Raises:
        ValueError: if shapes or class indices do not fit together.
    """
    prediction = checked_map("prediction", prediction, len(class_names), ())
    label = checked_label(label, prediction, len(class_names))
    if prediction.ndim == 2:
        prediction, label, slice_axis = prediction[None], label[None], 0
    if not 0 <= slice_axis < 3:
        raise ValueError(f"slice_axis must be 0, 1 or 2, got {slice_axis}.")
    across = tuple(axis for axis in range(3) if axis != slice_axis)
    known = label != UNLABELLED
    rows = []
    for k, name in enumerate(class_names):
        if k == 0:
            continue
        p, q = (prediction == k) & known, label == k
        sizes, references, shared = (mask.sum(across) for mask in (p, q, p & q))
        dice, iou = overlap(sizes, references, shared)
        rows += [
            {
                "slice": int(s),
                "class": name,
                "dice": float(dice[s]),
                "iou": float(iou[s]),
                "size_difference": int(sizes[s]) - int(references[s]),
                "empty": int(sizes[s] == references[s] == 0),
                "positive": int(references[s] > 0),
            }
            for s in np.flatnonzero(known.any(across))
        ]
    return rows


def summarize_slices(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Average the rows of :func:`slice_metrics` over the slices of all volumes, then over classes ("mean").

    Args:
        rows: rows of any number of volumes.

    Returns:
        ``slice_dice``; ``slice_dice_shown`` and ``slice_iou_shown``, over the slices that show the class in one of
        the masks alone; ``slice_dice_positive`` and ``slice_iou_positive``, over those whose reference shows it (a
        class that no slice shows is left out of them); ``slice_iou``; ``size_difference`` and
        ``size_difference_abs`` (voxels a slice, prediction - reference); each ``{"mean": ..., "<class>": ...}``.
        Nothing without rows.
    """
    names = list(dict.fromkeys(row["class"] for row in rows))
    of_class = {name: [row for row in rows if row["class"] == name] for name in names}
    shown = {name: [row for row in found if not row["empty"]] for name, found in of_class.items()}
    positive = {name: [row for row in found if row["positive"]] for name, found in of_class.items()}
    parts = {"": of_class, "_shown": shown, "_positive": positive}
    summary = {}
    for metric in ("dice", "iou"):
        for ending, part in parts.items():
            if values := {name: [float(row[metric]) for row in found] for name, found in part.items() if found}:
                summary[f"slice_{metric}{ending}"] = mean_of(values)
    if of_class:
        errors = {name: [float(row["size_difference"]) for row in found] for name, found in of_class.items()}
        summary["size_difference"] = mean_of(errors)
        summary["size_difference_abs"] = mean_of({name: list(map(math.fabs, found)) for name, found in errors.items()})
    return summary
