# SPDX-License-Identifier: Apache-2.0
"""The verb `prepare`: a module a release."""

from __future__ import annotations

from wss_monai.commands.prepare.parser import add_parser

__all__ = ["add_parser"]
