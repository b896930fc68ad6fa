# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai export ...`: a data set in the form that another program reads."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import add_kinds

__all__ = ["KINDS", "add_parser"]

KINDS = ("nnunet",)
"""Modules of this folder, one a program, as `wss_monai.commands.kinds.add_kinds` wants them."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `export` with one kind a program."""
    parser = subparsers.add_parser("export", help="a data set for another program", description=__doc__)
    add_kinds(parser, __name__, KINDS, "PROGRAM")
