# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare png-slices`: folders of PNG slices, a folder a modality, as volumes."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import new_folder
from wss_monai.commands.prepare.conversion import Converted, conversion

HELP = "train, val and test folders of PNG slices"
DESCRIPTION = (
    f"{__doc__} The source holds train and, if there are any, val and test; each of them holds a folder a modality, "
    "such as T2 and ADC, or MR_T1 and others, and the masks in GT, with files PATIENT_SLICE.png. Slices are paired by "
    "name. Tags of the slices (slice_tags) are read off the masks: they simulate the tags of a reader. split.json "
    "keeps train, val and test apart."
)
SHARED = [new_folder("data/PROSTATE_PNG")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this release."""
    add = parser.add_argument
    add("--source", required=True, help="the folder that holds train, or an archive of it")
    xyz = ("X", "Y", "Z")
    add("--spacing", type=float, nargs=3, required=True, metavar=xyz, help="of columns, rows, slices in mm")
    add("--modalities", nargs="+", metavar="FOLDER", help="which, in this order (default: all)")
    add("--foreground", default="foreground", metavar="NAME", help="class of what is not black in GT (%(default)s)")


@conversion
def run(args: argparse.Namespace) -> Converted:
    """Stack the slices."""
    from wss_monai.data.releases.png_slices import prepare_png_slices

    done = prepare_png_slices(args.source, args.out, args.spacing, args.modalities, args.foreground)
    return done, f"{done.training} training and {done.test} test patients"
