# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare decathlon`: a task of the Medical Segmentation Decathlon with a `dataset.json`."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import new_folder
from wss_monai.commands.prepare.conversion import PATIENTS, Converted, conversion

HELP = "a task of the Medical Segmentation Decathlon"
DESCRIPTION = (
    f"{__doc__} 4D images become one file a modality. Tags of the slices (slice_tags) are read off the dense labels: "
    "they simulate the tags of a reader. The labels of task 1 become one class 'whole tumour', those of task 5 "
    "'prostate'. Test images have no labels and are left out."
)
SHARED = [new_folder("data/PROSTATE"), PATIENTS]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this release."""
    add = parser.add_argument
    add("--task", type=int, required=True, metavar="N", help="its number, 1 to 10 (5: prostate)")
    add("--source", required=True, help="TaskNN_Name.tar, or the folder it was unpacked to")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--merge", metavar="NAME", help="make all labels one class of this name")
    classes.add_argument("--keep-classes", action="store_true", help="keep the classes of tasks 1 and 5 apart")


@conversion
def run(args: argparse.Namespace) -> Converted:
    """Convert the task."""
    from wss_monai.data.releases.decathlon import prepare_decathlon

    done = prepare_decathlon(args.source, args.out, args.task, args.merge, args.keep_classes, args.patients)
    return done, f"{done.training} training and {done.test} test cases"
