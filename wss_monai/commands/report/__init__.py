# SPDX-License-Identifier: Apache-2.0
"""The verb `report`: a module a kind of report."""

from __future__ import annotations

from wss_monai.commands.report.parser import add_parser

__all__ = ["add_parser"]
