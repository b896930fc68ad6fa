# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare decathlon`: a task of the Medical Segmentation Decathlon with a `dataset.json`."""

from __future__ import annotations

import argparse

from wss_monai.commands.prepare.notes import print_notes, read_patients

__all__ = ["add_decathlon", "run"]


def add_decathlon(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-verb `decathlon`."""
    parser = subparsers.add_parser(
        "decathlon",
        help="a task of the Medical Segmentation Decathlon",
        description=f"{__doc__} 4D images become one file a modality. Tags of the slices (slice_tags) are read off the "
        "dense labels: they simulate the tags of a reader. The labels of task 1 become one class 'whole tumour', those "
        "of task 5 'prostate'. Test images have no labels and are left out.",
    )
    parser.add_argument("--task", type=int, required=True, metavar="N", help="its number, 1 to 10 (5: prostate)")
    parser.add_argument("--source", required=True, help="TaskNN_Name.tar, or the folder it was unpacked to")
    parser.add_argument("--out", required=True, help="folder to make, for example data/PROSTATE")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--merge", metavar="NAME", help="make all labels one class of this name")
    classes.add_argument("--keep-classes", action="store_true", help="keep the classes of tasks 1 and 5 apart")
    parser.add_argument(
        "--patients", metavar="FILE", help='JSON: a list of patients, or {"patients": [...]}; the only ones'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert the task and print what came of it, with a table of what was skipped."""
    from wss_monai.data.releases.decathlon import prepare_decathlon

    patients = None if args.patients is None else read_patients(args.patients)
    done = prepare_decathlon(args.source, args.out, args.task, args.merge, args.keep_classes, patients)
    print_notes(done.notes)
    print(f"{done.path}: {done.training} training and {done.test} test cases; {len(done.notes)} notes")
    return 0
