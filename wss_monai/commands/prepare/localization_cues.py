# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare localization-cues`: the published cues of Seed, Expand and Constrain as NIfTI maps."""

from __future__ import annotations

import argparse

from wss_monai.commands.prepare.notes import print_notes

__all__ = ["add_localization_cues", "run"]


def add_localization_cues(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-verb `localization-cues`."""
    parser = subparsers.add_parser(
        "localization-cues",
        help="the published localization_cues.pickle",
        description=f"{__doc__} The file is read without running anything that it holds: whatever is no array of "
        "integers is refused. Maps have the shape (columns, rows, 1); 0 is background, 255 no cue. cues.json holds "
        "names and tags.",
    )
    parser.add_argument("--source", required=True, help="localization_cues.pickle, or .pickle.gz")
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--list", metavar="FILE", help="input_list.txt: an image and its index in each line")
    parser.add_argument("--num-classes", type=int, default=21, help="background included (default 21; COCO: 81)")
    parser.add_argument(
        "--grid", type=int, nargs=2, default=[41, 41], metavar=("COLUMNS", "ROWS"), help="of the cues (default 41 41)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert the cues and print what came of it, with a table of what was left out."""
    from wss_monai.data.releases.localization_cues import prepare_localization_cues

    done = prepare_localization_cues(args.source, args.out, args.list, args.num_classes, tuple(args.grid))
    print_notes(done.notes)
    print(f"{done.path}: cues of {done.cases} images; {len(done.notes)} notes")
    return 0
