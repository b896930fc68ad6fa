# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai synthesize ...`: generate a data set, so that nothing has to be downloaded."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import add_kinds

__all__ = ["KINDS", "add_parser"]

KINDS = ("cardiac", "toy", "two-circles", "promise12", "prostate", "brain", "ellipsoids")
"""Modules of this folder, one a data set, as `wss_monai.commands.kinds.add_kinds` wants them."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `synthesize` with one kind a data set."""
    parser = subparsers.add_parser("synthesize", help="generate a data set", description=__doc__)
    add_kinds(parser, __name__, KINDS, "KIND")
