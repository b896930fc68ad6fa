# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare nnunet`: describe a raw data set of nnU-Net v2, whose files stay as they are."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import new_folder
from wss_monai.commands.prepare.conversion import print_notes

HELP = "a raw data set of nnU-Net v2, where it is"
DESCRIPTION = (
    f"{__doc__} Nothing is copied, and nnU-Net's own dataset.json is only read. An ignore label becomes 'unlabelled', "
    "imagesTs the test cases."
)
SHARED = [new_folder("data/MINE")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this kind."""
    add = parser.add_argument
    add("--source", required=True, metavar="DIR", help="folder DatasetXXX_NAME of nnUNet_raw")
    text = (
        r"regular expression on the name of a case, with a group patient: '(?P<patient>p\d+)_.*' (default: each case)"
    )
    add("--patient", metavar="PATTERN", help=text)
    text = "with an ignore label: scribble (default), points, slices"
    add("--weak-kind", default="scribble", metavar="WORD", help=text)
    add("--slice-axis", type=int, default=2, choices=(0, 1, 2), help="axis of the slices (default 2)")


def run(args: argparse.Namespace) -> int:
    """Write the dataset.json.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: as `prepare_nnunet`.
    """
    from wss_monai.data.releases.nnunet import prepare_nnunet

    done = prepare_nnunet(args.source, args.out, args.patient, args.weak_kind, args.slice_axis)
    print_notes(done.notes)
    cases = {part: done.content.get(part, []) for part in ("training", "test")}
    patients = len({case["patient"] for part in cases.values() for case in part})
    kind = "weak labels" if "weak_label" in done.content else "dense labels"
    print(
        f"{done.path / 'dataset.json'}: {len(cases['training'])} training and {len(cases['test'])} test cases of "
        f"{patients} patients, {kind}; classes {list(done.content['labels'].values())}"
    )
    return 0
