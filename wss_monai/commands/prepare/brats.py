# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare brats`: a BraTS release, a file a modality, with a `dataset.json`."""

from __future__ import annotations

import argparse

from wss_monai.commands.prepare.notes import print_notes, read_patients

__all__ = ["add_brats", "run"]


def add_brats(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-verb `brats`."""
    parser = subparsers.add_parser(
        "brats",
        help="a BraTS release, 2013 to 2024",
        description=f"{__doc__} Files are called CASE_flair.nii.gz (t1, t1ce, t2, seg) or CASE-t2f.nii.gz (t1n, t1c, "
        "t2w, seg), one folder a case, at any depth. Tags of the slices (slice_tags) are read off the segmentations: "
        "they simulate the tags of a reader. Modalities on another grid than the first one are resampled, and the last "
        "lines say so.",
    )
    parser.add_argument("--source", required=True, metavar="DIR", help="the folder that the release was unpacked to")
    parser.add_argument("--out", required=True, help="folder to make, for example data/BRATS")
    parser.add_argument(
        "--modalities", nargs="+", metavar="WORD", help="which, in this order (default: t1 t1ce t2 flair)"
    )
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument(
        "--merge",
        metavar="NAME",
        default="whole tumour",
        help="the class that all labels become (default: %(default)s)",
    )
    classes.add_argument("--keep-classes", action="store_true", help="keep the classes apart")
    parser.add_argument(
        "--skip-incomplete",
        action="store_true",
        help="leave out cases that lack a modality or do not fit, in place of an error",
    )
    parser.add_argument(
        "--patients", metavar="FILE", help='JSON: a list of patients, or {"patients": [...]}; the only ones'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert the release and print what came of it, with a table of what was skipped or resampled."""
    from wss_monai.data.releases.brats import prepare_brats

    patients = None if args.patients is None else read_patients(args.patients)
    merge = None if args.keep_classes else args.merge
    done = prepare_brats(args.source, args.out, args.modalities, merge, args.skip_incomplete, patients)
    print_notes(done.notes)
    print(f"{done.path}: {done.cases} cases of {done.training} patients; {len(done.notes)} notes")
    return 0
