# SPDX-License-Identifier: Apache-2.0
"""Convert the official ACDC release."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import new_folder
from wss_monai.commands.prepare.conversion import PATIENTS, Converted, conversion

HELP = "the official ACDC release"
SHARED = [new_folder("data/ACDC"), PATIENTS]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this release."""
    add = parser.add_argument
    add("--source", required=True, help="acdc.zip, a tar archive, or the folder with training/ and testing/")
    add("--scribbles", metavar="FOLDER",
        help="folder or archive with patientXXX_frameYY[_scribble].nii.gz (4, 255: unlabelled)")  # fmt: skip


@conversion
def run(args: argparse.Namespace) -> Converted:
    """Convert ACDC."""
    from wss_monai.data.releases.acdc import prepare_acdc

    done = prepare_acdc(args.source, args.out, args.patients, args.scribbles)
    what = f"{done.training} training and {done.test} test patients, {done.cases} volumes"
    return done, f"{what}, {done.scribbles} with a scribble"
