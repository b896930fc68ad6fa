# SPDX-License-Identifier: Apache-2.0
"""How far a prediction agrees with what somebody drew: strokes, points, boxes and tags. No dense mask is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.box_maps import in_boxes
from wss_monai.metrics.volumes import checked_map, mean_of

__all__ = ["box_iou", "stroke_metrics", "summarize_weak_labels", "tags_right"]

OF_CLASSES = ("stroke_recall", "box_iou", "tags_right")
OF_CASES = ("background_recall", "strokes_right", "partial_ce")


def stroke_metrics(prediction: np.ndarray, drawn: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Compare a predicted volume with the voxels that somebody drew in it.

    Recall alone rewards a class that is predicted everywhere; the strokes of the other classes, and above all of the
    background, are what tells. Voxels that nobody drew say nothing, and strokes are seldom drawn at the edge of an
    organ, where most errors are: a share of 1 is no Dice of 1.

    Args:
        prediction: class indices (X, Y[, Z]), integers 0..K-1.
        drawn: class indices of the same shape, 255 where nothing is drawn.
        class_names: names of the K classes, background first.

    Returns:
        One row for each foreground class: ``drawn_voxels`` of the class, ``stroke_recall`` (the share of them that are
        predicted as the class; absent where none is drawn), and of the whole case, the same in each row,
        ``background_recall`` (absent where no background is drawn) and ``strokes_right`` (the share of all drawn
        voxels, background included, that are predicted as drawn; absent where nothing is).

    Raises:
        ValueError: shapes or class indices do not fit together.
    """
    prediction = checked_map("prediction", prediction, len(class_names), ())
    drawn = checked_map("weak_label", drawn, len(class_names), (UNLABELLED,))
    if drawn.shape != prediction.shape:
        raise ValueError(
            f"prediction has shape {prediction.shape} and weak_label {drawn.shape}: bring both to one grid first."
        )
    voxels = np.bincount(drawn[drawn != UNLABELLED], minlength=len(class_names))
    right = np.bincount(drawn[drawn == prediction], minlength=len(class_names))
    whole: dict[str, Any] = {}
    if voxels[0]:
        whole["background_recall"] = float(right[0] / voxels[0])
    if voxels.sum():
        whole["strokes_right"] = float(right.sum() / voxels.sum())
    return [
        {
            "drawn_voxels": int(voxels[k]),
            **({"stroke_recall": float(right[k] / voxels[k])} if voxels[k] else {}),
            **whole,
        }
        for k in range(1, len(class_names))
    ]


def box_iou(prediction: np.ndarray, boxes: np.ndarray, slice_axis: int = 2) -> list[float | None]:
    """Compare, slice by slice, the rectangle around a predicted class with that around its boxes.

    Args:
        prediction: class indices (X, Y[, Z]), integers 0..K-1.
        boxes: numbered boxes (K, X, Y[, Z]), as ``LoadCased`` gives them; 255 throughout where a case has none.
        slice_axis: axis across the slices of a volume.

    Returns:
        For each foreground class the intersection over the union of the rectangles, both summed over the slices; None
        where the case has no boxes. 1 where neither box nor prediction shows the class.
    """
    found: list[float | None] = []
    for k in range(1, len(boxes)):
        if bool((boxes[k] == UNLABELLED).all()):
            found.append(None)
            continue
        wanted, got = (_rectangles(mask, slice_axis) for mask in (in_boxes(boxes[k]), prediction == k))
        union = int((wanted | got).sum())
        found.append(float((wanted & got).sum() / union) if union else 1.0)
    return found


def tags_right(
    prediction: np.ndarray,
    tags: Sequence[int] | None,
    slice_tags: Sequence[Sequence[int]] | None,
    num_classes: int,
    slice_axis: int = 2,
) -> list[float | None]:
    """Give, for each foreground class, the share of its tags that the prediction agrees with.

    A class is predicted where a single voxel of it is. Slice-level tags count where there are any, else the tag of the
    volume.

    Args:
        prediction: class indices (X, Y[, Z]), integers 0..K-1.
        tags: (K,) of the volume: 1 present, 0 absent, -1 unknown.
        slice_tags: (S, K) of the slices.
        num_classes: K.
        slice_axis: axis across the slices of a volume.

    Returns:
        A share, or None where all tags of a class are unknown.
    """
    rows = np.asarray([tags] if not slice_tags and tags is not None else slice_tags or [], dtype=int)
    rows = rows.reshape(-1, num_classes)
    slices = [prediction]
    if slice_tags:
        slices = list(np.moveaxis(prediction, slice_axis, 0)) if prediction.ndim > 2 else [prediction]
        if len(slices) != len(rows):
            raise ValueError(f"slice_tags has {len(rows)} rows and the prediction {len(slices)} slices.")
    found: list[float | None] = []
    for k in range(1, num_classes):
        told = [
            (row[k] == 1, bool((plane == k).any())) for row, plane in zip(rows, slices, strict=False) if row[k] >= 0
        ]
        found.append(sum(tag == seen for tag, seen in told) / len(told) if told else None)
    return found


def summarize_weak_labels(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> dict[str, Any]:
    """Average what rows of ``cases.csv`` say of weak labels.

    Args:
        rows: a row for each case and foreground class; those without a value do not enter its average.
        class_names: names of the K classes, background first.

    Returns:
        ``stroke_recall``, ``box_iou`` and ``tags_right``, each ``{"mean": ..., "<class>": ...}``, over cases first and
        then over foreground classes; ``background_recall``, ``strokes_right`` and ``partial_ce``, each
        ``{"mean": ...}`` over cases; ``n_drawn``: cases with drawn voxels. What no row has is left out.
    """
    summary: dict[str, Any] = {}
    for metric in OF_CLASSES:
        of = {name: [float(r[metric]) for r in rows if r["class"] == name and metric in r] for name in class_names[1:]}
        if of := {name: values for name, values in of.items() if values}:
            summary[metric] = mean_of(of)
    for metric in OF_CASES:
        values = {str(row["case"]): float(row[metric]) for row in rows if metric in row}
        if values:
            summary[metric] = mean_of({"mean": list(values.values())})
    drawn = {str(row["case"]) for row in rows if "strokes_right" in row}
    return {"n_drawn": len(drawn), **summary} if drawn else summary


def _rectangles(mask: np.ndarray, slice_axis: int) -> np.ndarray:
    """Fill the bounding rectangle of a mask in each slice."""
    filled = np.zeros(mask.shape, dtype=bool)
    planes = np.moveaxis(mask, slice_axis, 0) if mask.ndim > 2 else mask[None]
    out = np.moveaxis(filled, slice_axis, 0) if mask.ndim > 2 else filled[None]
    for plane, into in zip(planes, out, strict=True):
        if plane.any():
            corners = np.argwhere(plane)
            (top, left), (bottom, right) = corners.min(0), corners.max(0) + 1
            into[top:bottom, left:right] = True
    return filled
