# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare brats`: a BraTS release, a file a modality, with a `dataset.json`."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import new_folder
from wss_monai.commands.prepare.conversion import PATIENTS, Converted, conversion

HELP = "a BraTS release, 2013 to 2024"
DESCRIPTION = (
    f"{__doc__} Files are called CASE_flair.nii.gz (t1, t1ce, t2, seg) or CASE-t2f.nii.gz (t1n, t1c, t2w, seg), one "
    "folder a case, at any depth. Tags of the slices (slice_tags) are read off the segmentations: they simulate the "
    "tags of a reader. Modalities on another grid than the first one are resampled, and the last lines say so."
)
SHARED = [new_folder("data/BRATS"), PATIENTS]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this release."""
    add = parser.add_argument
    add("--source", required=True, metavar="DIR", help="the folder that the release was unpacked to")
    add("--modalities", nargs="+", metavar="WORD", help="which, in this order (default: t1 t1ce t2 flair)")
    classes = parser.add_mutually_exclusive_group()
    text = "the class that all labels become (default: %(default)s)"
    classes.add_argument("--merge", metavar="NAME", default="whole tumour", help=text)
    classes.add_argument("--keep-classes", action="store_true", help="keep the classes apart")
    text = "leave out cases that lack a modality or cannot be converted, without an error"
    add("--skip-incomplete", action="store_true", help=text)


@conversion
def run(args: argparse.Namespace) -> Converted:
    """Convert the release."""
    from wss_monai.data.releases.brats import prepare_brats

    merge = None if args.keep_classes else args.merge
    done = prepare_brats(args.source, args.out, args.modalities, merge, args.skip_incomplete, args.patients)
    return done, f"{done.cases} cases of {done.training} patients"
