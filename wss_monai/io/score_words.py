# SPDX-License-Identifier: Apache-2.0
"""What tables and figures call the scores of a run, with their units: one place for the console and the report."""

from __future__ import annotations

from wss_monai.io.run_folder import CASES

__all__ = ["SCORE_WORDS", "score_word"]

SCORE_WORDS = {column.name: column.word for column in CASES.columns if column.word} | {
    "volume_error_ml_abs": "absolute volume error (ml)",
    "slice_dice": "Dice of slices",
    "slice_dice_shown": "Dice of slices that show the class",
    "slice_dice_positive": "Dice of positive slices",
    "slice_iou": "IoU of slices",
    "slice_iou_shown": "IoU of slices that show the class",
    "slice_iou_positive": "IoU of positive slices",
    "size_difference": "size difference of slices (voxels)",
    "size_difference_abs": "absolute size difference of slices (voxels)",
    "iou_pooled": "IoU over all voxels",
}
"""Names in evaluation/cases.csv and metrics_summary.json -> words."""


def score_word(metric: str) -> str:
    """Give a metric's name as read in figures and tables."""
    return SCORE_WORDS.get(metric, metric.replace("_", " "))
