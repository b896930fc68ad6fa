# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare ...`: a `dataset.json` for a public release, or for a folder of your own volumes."""

from __future__ import annotations

import argparse

from wss_monai.commands.prepare.acdc import add_acdc
from wss_monai.commands.prepare.brats import add_brats
from wss_monai.commands.prepare.decathlon import add_decathlon
from wss_monai.commands.prepare.folder import add_folder
from wss_monai.commands.prepare.localization_cues import add_localization_cues
from wss_monai.commands.prepare.png_slices import add_png_slices
from wss_monai.commands.prepare.promise12 import add_promise12

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `prepare` with one sub-verb a release, and one for any folder."""
    parser = subparsers.add_parser("prepare", help="make a dataset.json for a release or a folder", description=__doc__)
    releases = parser.add_subparsers(dest="release", required=True, metavar="RELEASE")
    add_acdc(releases)
    add_folder(releases)
    add_promise12(releases)
    add_decathlon(releases)
    add_brats(releases)
    add_png_slices(releases)
    add_localization_cues(releases)
