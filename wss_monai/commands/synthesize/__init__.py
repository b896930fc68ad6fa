# SPDX-License-Identifier: Apache-2.0
"""The verb `synthesize`: a module a data set."""

from __future__ import annotations

from wss_monai.commands.synthesize.parser import add_parser

__all__ = ["add_parser"]
