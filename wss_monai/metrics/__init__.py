# SPDX-License-Identifier: Apache-2.0
"""Metrics of whole volumes in mm and ml, of their slices, and the satisfaction of constraints."""

from .constraints import constraint_rows, summarize_constraints
from .slices import slice_metrics, summarize_slices
from .volumes import summarize_volumes, volume_metrics

__all__ = [
    "constraint_rows",
    "slice_metrics",
    "summarize_constraints",
    "summarize_slices",
    "summarize_volumes",
    "volume_metrics",
]
