# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai export nnunet`: a data set, weak labels included, as a raw data set of nnU-Net v2."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import new_folder, seed
from wss_monai.commands.prepare.conversion import print_notes

HELP = "a raw data set of nnU-Net v2 with an ignore label"
DESCRIPTION = (
    f"{__doc__} Unlabelled voxels get nnU-Net's ignore label; splits_final.json holds five folds by patient, which "
    "nnU-Net would draw by case."
)
SHARED = [new_folder("nnUNet_raw/Dataset501_MINE"), seed("folds and dense patients")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this kind."""
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="the data set: a folder with a dataset.json")
    text = "training patients, drawn by the seed, whose dense label takes the place of the weak one (default 0)"
    add("--dense", type=int, default=0, metavar="N", help=text)


def run(args: argparse.Namespace) -> int:
    """Write the data set.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: as `export_nnunet`.
    """
    from wss_monai.nnunet import TRAINERS
    from wss_monai.nnunet.export import export_nnunet

    done = export_nnunet(args.data, args.out, args.dense, args.seed)
    print_notes(done.notes)
    ignore = "with an ignore label" if done.ignored else "every voxel is labelled"
    print(f"{done.path}: {done.training} training and {done.test} test cases, {ignore}")
    number = int(done.path.name[7:10])
    print(f"next: nnUNetv2_plan_and_preprocess -d {number} --verify_dataset_integrity")
    print(f"nnUNetTrainerConstrained is found with: export nnUNet_extTrainer={TRAINERS}")
    return 0
