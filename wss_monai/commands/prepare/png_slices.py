# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare png-slices`: folders of PNG slices, a folder a modality, as volumes."""

from __future__ import annotations

import argparse

from wss_monai.commands.prepare.notes import print_notes

__all__ = ["add_png_slices", "run"]


def add_png_slices(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-verb `png-slices`."""
    parser = subparsers.add_parser(
        "png-slices",
        help="train, val and test folders of PNG slices",
        description=f"{__doc__} The source holds train and, if there are any, val and test; each of them holds a "
        "folder a modality, such as T2 and ADC, or MR_T1 and others, and the masks in GT, with files "
        "PATIENT_SLICE.png. Slices are paired by name. Tags of the slices (slice_tags) are read off the masks: they "
        "simulate the tags of a reader. split.json keeps train, val and test apart.",
    )
    parser.add_argument("--source", required=True, help="the folder that holds train, or an archive of it")
    parser.add_argument("--out", required=True, help="folder to make, for example data/PROSTATE_PNG")
    parser.add_argument(
        "--spacing", type=float, nargs=3, required=True, metavar=("X", "Y", "Z"), help="of columns, rows, slices in mm"
    )
    parser.add_argument("--modalities", nargs="+", metavar="FOLDER", help="which, in this order (default: all)")
    parser.add_argument(
        "--foreground", default="foreground", metavar="NAME", help="class of what is not black in GT (%(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Stack the slices and print what came of it, with a table of what is unusual."""
    from wss_monai.data.releases.png_slices import prepare_png_slices

    done = prepare_png_slices(args.source, args.out, args.spacing, args.modalities, args.foreground)
    print_notes(done.notes)
    print(f"{done.path}: {done.training} training and {done.test} test patients; {len(done.notes)} notes")
    return 0
