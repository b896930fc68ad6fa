# SPDX-License-Identifier: Apache-2.0
"""Scores of the cases, or of their slices, of evaluated runs: by class and as the mean of the classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from wss_monai.io.run_folder import CASES, EVALUATION
from wss_monai.report.run_folder import Run

__all__ = ["class_scores", "default_metrics", "mean_score", "measured_classes", "of_case", "scored_runs", "unit_of"]

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


OF_CASES = {column.name for column in CASES.columns if column.of_case}


def of_case(metric: str) -> bool:
    """Whether a metric is about whole cases, not about their classes."""
    return metric in OF_CASES


def default_metrics(runs: Sequence[Run]) -> list[str]:
    """Give the metrics that a table shows unless it is told: Dice, else what says most of the weak labels."""
    there = set.intersection(*(set(CASES.measures(run.cases)) for run in runs))
    choices = (["dice"], ["strokes_right", "stroke_recall"], ["box_iou"], ["tags_right"])
    return next((found for found in choices if there >= set(found)), ["dice"])


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

    Of metrics of whole cases there is "mean" alone, one value a case.

    Args:
        run: an evaluated run.
        metric: a column of evaluation/cases.csv, or a metric of slices as metrics_summary.json names it; ``_abs``: the
            absolute value; ``_shown``: without slices in which neither mask shows the class; ``_positive``: slices
            whose reference shows it.
    """
    if of_case(metric):
        whole = {str(row["case"]): float(row[metric]) for row in run.cases if metric in row}
        return {"mean": np.array(list(whole.values()))}
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
    classes = [found for name, found in scores.items() if name != "mean"]
    values = classes if of == "mean" and classes else [scores[of]]
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
