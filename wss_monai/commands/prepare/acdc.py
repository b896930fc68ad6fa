# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare acdc`: the official release of ACDC."""

from __future__ import annotations

import argparse

from wss_monai.commands.prepare.notes import print_notes, read_patients

__all__ = ["add_acdc"]


def add_acdc(releases: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the release `acdc`."""
    acdc = releases.add_parser(
        "acdc", help="the official ACDC release", description="Convert the official ACDC release."
    )
    acdc.add_argument(
        "--source", required=True, help="acdc.zip, a tar archive, or the folder with training/ and testing/"
    )
    acdc.add_argument("--out", required=True, help="folder to make, for example data/ACDC")
    acdc.add_argument(
        "--patients", metavar="FILE", help='JSON: a list of patients, or {"patients": [...]}; the only ones'
    )
    acdc.add_argument(
        "--scribbles",
        metavar="FOLDER",
        help="folder or archive with patientXXX_frameYY[_scribble].nii.gz (4, 255: unlabelled)",
    )
    acdc.set_defaults(run=run_acdc)


def run_acdc(args: argparse.Namespace) -> int:
    """Convert ACDC and print what came of it, with a table of what was skipped or changed."""
    from wss_monai.data.releases.acdc import prepare_acdc

    patients = None if args.patients is None else read_patients(args.patients)
    done = prepare_acdc(args.source, args.out, patients, args.scribbles)
    print_notes(done.notes)
    print(
        f"{done.path}: {done.training} training and {done.test} test patients, {done.cases} volumes, "
        f"{done.scribbles} with a scribble; {len(done.notes)} notes"
    )
    return 0
