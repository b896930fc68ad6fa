# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare ...`: a `dataset.json` for a public release, or for a folder of your own volumes."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import add_kinds

__all__ = ["RELEASES", "add_parser"]

RELEASES = (
    *("acdc", "folder", "markups", "bids", "promise12", "decathlon", "brats", "png-slices", "png-masks", "nnunet"),
    "localization-cues",
)
"""Modules of this folder, one a release, as `wss_monai.commands.kinds.add_kinds` wants them."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `prepare` with one kind a release, and one for any folder."""
    parser = subparsers.add_parser("prepare", help="make a dataset.json for a release or a folder", description=__doc__)
    add_kinds(parser, __name__, RELEASES, "RELEASE")
