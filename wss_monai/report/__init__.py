# SPDX-License-Identifier: Apache-2.0
"""Reports of runs: one HTML file, and the panels and figures in it."""

from wss_monai.report.cam_sheets import cam_sheet
from wss_monai.report.page import write_report
from wss_monai.report.panels import case_panel

__all__ = ["cam_sheet", "case_panel", "write_report"]
