# SPDX-License-Identifier: Apache-2.0
"""Overlap, surface distances in mm and volumes in ml of label volumes, with a stated policy for empty masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from wss_monai.functional import UNLABELLED
from wss_monai.metrics.overlap import overlap

__all__ = ["checked_map", "mean_of", "summarize_volumes", "volume_metrics"]

DENSE_METRICS = ("dice", "iou", "hd95_mm", "asd_mm", "volume_error_ml")


def volume_metrics(
    prediction: np.ndarray, label: np.ndarray | None, spacing: Sequence[float], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Compare one predicted volume with its dense reference, class by class.

    Voxels with the label 255 are unknown and belong to neither mask. Policy for empty masks: both empty gives Dice and
    IoU 1, distances 0 and ``empty`` 1; exactly one empty gives Dice and IoU 0, both distances the image's diagonal in
    mm, and ``missed`` 1 (a class predicted where the reference has none counts as well). An axis of a single voxel
    carries no surface: a one-slice volume is measured in its plane.

    Args:
        prediction: class indices (X, Y[, Z]), integers 0..K-1.
        label: reference class indices of the same shape, 0..K-1 or 255; None where there is no dense label.
        spacing: voxel size in mm, one number an axis.
        class_names: names of the K classes, background first.

    Returns:
        One row for each foreground class: ``class``, ``dice``, ``iou``, ``hd95_mm``, ``asd_mm`` (symmetric: the mean
        over the surface voxels of both masks), ``volume_ml``, ``reference_ml``, ``volume_error_ml`` (prediction -
        reference), ``empty``, ``missed``. Without a label a row holds ``class`` and ``volume_ml`` alone. In 2D the ml
        figures are those of a slice 1 mm thick.

    Raises:
        ValueError: if shapes, spacing or class indices do not fit together.
    """
    prediction = checked_map("prediction", prediction, len(class_names), ())
    size = _checked_spacing(spacing, prediction.ndim)
    if label is None:
        ml = float(size.prod()) / 1000
        volumes = [int((prediction == k).sum()) * ml for k in range(1, len(class_names))]
        return [{"class": name, "volume_ml": v} for name, v in zip(class_names[1:], volumes, strict=True)]
    label = checked_label(label, prediction, len(class_names))
    known = label != UNLABELLED
    return [
        {"class": name, **_mask_metrics((prediction == k) & known, label == k, size)}
        for k, name in enumerate(class_names)
        if k > 0
    ]


def summarize_volumes(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> dict[str, Any]:
    """Average the rows of :func:`volume_metrics`: over volumes within a class first, then over classes ("mean").

    Args:
        rows: rows of any number of volumes; rows without ``dice`` (no dense label) do not enter the averages.
        class_names: names of the K classes, background first.

    Returns:
        ``dice``, ``iou``, ``hd95_mm``, ``asd_mm``, ``volume_error_ml`` and ``volume_error_ml_abs``, each
        ``{"mean": ..., "<class>": ...}``; ``n_volumes``; ``n_labelled`` (volumes with a dense label); ``n_empty`` and
        ``n_missed``, each ``{"<class>": n}``. Without any dense label only the two numbers of volumes.

    Raises:
        ValueError: if a row names an unknown class, or a value is not finite.
    """
    foreground = list(class_names[1:])
    unknown = sorted({str(row["class"]) for row in rows} - set(foreground))
    if unknown:
        raise ValueError(f"rows name the classes {unknown}, not among the foreground classes {foreground}.")
    of_class = {name: [row for row in rows if row["class"] == name] for name in foreground}
    dense = {name: [row for row in of_class[name] if row.get("dice") is not None] for name in foreground}
    dense = {name: found for name, found in dense.items() if found}
    summary: dict[str, Any] = {
        "n_volumes": max(map(len, of_class.values()), default=0),
        "n_labelled": max(map(len, dense.values()), default=0),
    }
    if not dense:
        return summary
    for metric in DENSE_METRICS:
        summary[metric] = mean_of({name: [float(row[metric]) for row in found] for name, found in dense.items()})
    summary["volume_error_ml_abs"] = mean_of(
        {name: [abs(float(row["volume_error_ml"])) for row in found] for name, found in dense.items()}
    )
    for flag in ("empty", "missed"):
        summary[f"n_{flag}"] = {name: sum(int(row[flag]) for row in found) for name, found in dense.items()}
    return summary


def mean_of(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Mean of each class's values, and the mean of these ("mean").

    Raises:
        ValueError: a mean that is not finite.
    """
    per_class = {name: math.fsum(found) / len(found) for name, found in values.items()}
    for name, value in per_class.items():
        if not math.isfinite(value):
            raise ValueError(f"a metric of class {name!r} is {value}: rows must hold finite numbers.")
    return {"mean": math.fsum(per_class.values()) / len(per_class), **per_class}


def _mask_metrics(predicted: np.ndarray, reference: np.ndarray, spacing: np.ndarray) -> dict[str, Any]:
    n_predicted, n_reference = int(predicted.sum()), int(reference.sum())
    ml = float(spacing.prod()) / 1000
    dice, iou = overlap(n_predicted, n_reference, int((predicted & reference).sum()))
    missed = int((n_predicted == 0) != (n_reference == 0))
    if n_predicted == n_reference == 0:
        hd95, asd = 0.0, 0.0
    elif missed:
        diagonal = float(np.linalg.norm(spacing * predicted.shape))
        hd95, asd = diagonal, diagonal
    else:
        hd95, asd = _surface_distances(predicted, reference, spacing)
    return {
        "dice": float(dice),
        "iou": float(iou),
        "hd95_mm": hd95,
        "asd_mm": asd,
        "volume_ml": n_predicted * ml,
        "reference_ml": n_reference * ml,
        "volume_error_ml": (n_predicted - n_reference) * ml,
        "empty": int(n_predicted == n_reference == 0),
        "missed": missed,
    }


def _surface_distances(a: np.ndarray, b: np.ndarray, spacing: np.ndarray) -> tuple[float, float]:
    """Give (HD95, symmetric average distance) in mm between the surfaces of two masks, neither of them empty.

    HD95 is the larger of the two directed 95th percentiles. A surface voxel is one of the mask with a face neighbour
    outside it, the outside of the image included. Cropping to the box of the union changes nothing: all that the crop
    drops lies outside both masks, as does what the erosion assumes beyond the crop, and the distances run between
    surface voxels, which are all inside the box.
    """
    axes = [axis for axis, n in enumerate(a.shape) if n > 1] or [0]
    corners = np.argwhere(a | b)
    box = tuple(slice(low, high + 1) for low, high in zip(corners.min(0), corners.max(0), strict=True))
    flat = tuple(axis for axis in range(a.ndim) if axis not in axes)
    p, q = (_surface_points(mask[box].squeeze(flat), spacing[axes]) for mask in (a, b))
    there, back = KDTree(q).query(p)[0], KDTree(p).query(q)[0]
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(hd95), float(np.concatenate([there, back]).mean())


def _surface_points(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    return np.argwhere(mask & ~binary_erosion(mask)) * spacing


def checked_map(name: str, volume: np.ndarray, n_classes: int, also: tuple[int, ...]) -> np.ndarray:
    """Give an index map (X, Y[, Z]) of the classes 0..n_classes-1 and the values ``also``, or refuse it.

    Raises:
        ValueError: another type, number of axes or value.
    """
    volume = np.asarray(volume)
    if volume.dtype.kind not in "iu" or volume.ndim not in (2, 3) or volume.size == 0:
        raise ValueError(
            f"{name} must be an integer array (X, Y[, Z]) of class indices, got {volume.dtype} {volume.shape}."
        )
    bad = [int(v) for v in np.unique(volume) if not 0 <= v < n_classes and v not in also]
    if bad:
        allowed = f"0..{n_classes - 1}" + "".join(f" or {v}" for v in also)
        raise ValueError(f"{name} holds the values {bad}; class indices must be {allowed}: map file values first.")
    return volume


def checked_label(label: np.ndarray, prediction: np.ndarray, n_classes: int) -> np.ndarray:
    """Give the reference of a prediction, classes 0..n_classes-1 or 255, or refuse it.

    Raises:
        ValueError: as ``checked_map``, or another shape than the prediction's.
    """
    label = checked_map("label", label, n_classes, (UNLABELLED,))
    if label.shape != prediction.shape:
        raise ValueError(
            f"prediction has shape {prediction.shape} and label {label.shape}: bring both to the image's grid first."
        )
    return label


def _checked_spacing(spacing: Sequence[float], dims: int) -> np.ndarray:
    size = np.asarray(spacing, dtype=np.float64)
    if size.shape != (dims,) or not np.all(np.isfinite(size) & (size > 0)):
        raise ValueError(f"spacing must be {dims} positive numbers in mm, one an axis, got {spacing}.")
    return size
