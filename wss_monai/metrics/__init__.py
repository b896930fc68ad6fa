# SPDX-License-Identifier: Apache-2.0
"""Metrics of whole volumes in mm and ml, and the satisfaction of constraints."""

from .constraints import constraint_rows, summarize_constraints
from .volumes import summarize_volumes, volume_metrics

__all__ = ["constraint_rows", "summarize_constraints", "summarize_volumes", "volume_metrics"]
