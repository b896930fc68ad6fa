# SPDX-License-Identifier: Apache-2.0
"""Reports of runs: one HTML file, and the panels and figures in it."""

from .cases import case_panel
from .page import write_report

__all__ = ["case_panel", "write_report"]
