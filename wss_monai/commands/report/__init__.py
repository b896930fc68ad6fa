# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report ...`: show what runs did."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import add_kinds

__all__ = ["KINDS", "add_parser"]

KINDS = ("html", "gif", "browse", "curves", "compare", "table", "penalties")
"""Modules of this folder, one a figure, table or page, as `wss_monai.commands.kinds.add_kinds` wants them."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `report` and what it can make."""
    parser = subparsers.add_parser("report", help="show what runs did", description=__doc__)
    add_kinds(parser, __name__, KINDS, "WHAT")
