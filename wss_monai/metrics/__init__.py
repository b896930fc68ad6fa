# SPDX-License-Identifier: Apache-2.0
"""Metrics of volumes in mm and ml, of their slices, of all voxels and of weak labels, and satisfied constraints."""

from wss_monai.metrics.confusion import confusion_matrix, summarize_confusion
from wss_monai.metrics.constraints import constraint_rows, summarize_constraints
from wss_monai.metrics.slices import slice_metrics, summarize_slices
from wss_monai.metrics.volumes import summarize_volumes, volume_metrics
from wss_monai.metrics.weak_labels import box_iou, stroke_metrics, summarize_weak_labels, tags_right

__all__ = [
    "box_iou",
    "confusion_matrix",
    "constraint_rows",
    "slice_metrics",
    "stroke_metrics",
    "summarize_confusion",
    "summarize_constraints",
    "summarize_slices",
    "summarize_volumes",
    "summarize_weak_labels",
    "tags_right",
    "volume_metrics",
]
