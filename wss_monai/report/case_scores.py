# SPDX-License-Identifier: Apache-2.0
"""Scores of the cases, or of their slices, of evaluated runs: by class and as the mean of the classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from wss_monai.io.run_folder import CASES, EVALUATION
from wss_monai.report.run_folder import Run

__all__ = ["class_scores", "mean_score", "measured_classes", "metric_word", "scored_runs", "unit_of"]

METRIC_WORDS = {column.name: column.word for column in CASES.columns if column.word} | {
    "volume_error_ml_abs": "absolute volume error (ml)",
    "slice_dice": "Dice of slices",
    "slice_dice_shown": "Dice of slices that show the class",
    "slice_dice_positive": "Dice of positive slices",
    "slice_iou": "IoU of slices",
    "slice_iou_shown": "IoU of slices that show the class",
    "slice_iou_positive": "IoU of positive slices",
    "size_difference": "size difference of slices (voxels)",
    "size_difference_abs": "absolute size difference of slices (voxels)",
}
OF_SLICES = {
    "slice_dice": "dice",
    "slice_dice_shown": "dice",
    "slice_dice_positive": "dice",
    "slice_iou": "iou",
    "slice_iou_shown": "iou",
    "slice_iou_positive": "iou",
    "size_difference": "size_difference",
    "size_difference_abs": "size_difference",
}
"""Metrics of slices, named as in metrics_summary.json, and their columns of evaluation/slices.csv."""


def metric_word(metric: str) -> str:
    """Give a metric's name as read in figures and tables."""
    return METRIC_WORDS.get(metric, metric.replace("_", " "))


def unit_of(metric: str) -> str:
    """Give what a metric has one value of: "slices" or "cases"."""
    return "slices" if metric in OF_SLICES else "cases"


def scored_runs(runs: Sequence[Run], metrics: Sequence[str]) -> None:
    """Make sure that all runs have been evaluated and have each metric.

    Raises:
        ValueError: one has not, or has no such metric.
    """
    for run in runs:
        if run.summary is None:
            raise ValueError(f"{run.folder} has no {EVALUATION}/: run the bundle's evaluation on it first.")
        there = _metrics(run)
        if missing := [metric for metric in metrics if metric not in there]:
            dense = "" if run.has_dense_labels else "; no case has a dense label, which Dice and distances need"
            raise ValueError(f"{run.folder / EVALUATION} has no {missing[0]!r}; there are {', '.join(there)}{dense}.")


def measured_classes(runs: Sequence[Run]) -> list[str]:
    """Classes that were scored, in the order of the runs' class names."""
    found = {str(row["class"]) for run in runs for row in run.cases}
    return [name for name in runs[0].class_names if name in found]


def class_scores(run: Run, metric: str) -> dict[str, np.ndarray]:
    """Give the scores of a run: class -> (N,), and under "mean" the mean over the classes of each case or slice (N,).

    Args:
        run: an evaluated run.
        metric: a column of evaluation/cases.csv, or a metric of slices as metrics_summary.json names it; ``_abs``: the
            absolute value; ``_shown``: without slices in which neither mask shows the class; ``_positive``: slices
            whose reference shows it.
    """
    rows: list[dict[str, Any]] = run.slices if metric in OF_SLICES else run.cases
    column = OF_SLICES.get(metric, metric.removesuffix("_abs"))
    of_class: dict[str, list[float]] = {name: [] for name in measured_classes([run])}
    of_unit: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        if column in row and _counts(row, metric):
            value = abs(row[column]) if metric.endswith("_abs") else row[column]
            of_class[row["class"]].append(value)
            of_unit[row["case"], str(row.get("slice", ""))].append(value)
    means = [float(np.mean(values)) for values in of_unit.values()]
    return {**{name: np.array(values) for name, values in of_class.items()}, "mean": np.array(means)}


def mean_score(scores: dict[str, np.ndarray], of: str) -> float | None:
    """Give the mean of a class, or ("mean") the mean of the classes' means, as metrics_summary.json has it.

    Args:
        scores: what ``class_scores`` gives.
        of: class, or "mean".
    """
    values = [scores[of]] if of != "mean" else [found for name, found in scores.items() if name != "mean"]
    means = [float(found.mean()) for found in values if len(found)]
    return float(np.mean(means)) if means else None


def _metrics(run: Run) -> list[str]:
    of_cases = CASES.measures(run.cases)
    if "volume_error_ml" in of_cases:
        of_cases.append("volume_error_ml_abs")
    of_slices = {column for row in run.slices for column in row}
    told = {metric for metric in OF_SLICES if "positive" in of_slices or not metric.endswith("_positive")}
    return of_cases + [metric for metric, column in OF_SLICES.items() if column in of_slices and metric in told]


def _counts(row: dict[str, Any], metric: str) -> bool:
    """Whether a slice is one of those that the metric is about; evaluations of older versions lack ``positive``."""
    if metric.endswith("_shown"):
        return not row.get("empty")
    return bool(row.get("positive")) if metric.endswith("_positive") else True
