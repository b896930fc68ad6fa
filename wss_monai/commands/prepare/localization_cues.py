# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare localization-cues`: the published cues of Seed, Expand and Constrain as NIfTI maps."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import new_folder
from wss_monai.commands.prepare.conversion import Converted, conversion

HELP = "the published localization_cues.pickle"
DESCRIPTION = (
    f"{__doc__} The file is read without running anything that it holds: whatever is no array of integers is refused. "
    "Maps have the shape (columns, rows, 1); 0 is background, 255 no cue. cues.json holds names and tags."
)
SHARED = [new_folder()]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this release."""
    add = parser.add_argument
    add("--source", required=True, help="localization_cues.pickle, or .pickle.gz")
    add("--list", metavar="FILE", help="input_list.txt: an image and its index in each line")
    add("--num-classes", type=int, default=21, help="background included (default 21; COCO: 81)")
    shape = ("COLUMNS", "ROWS")
    add("--grid", type=int, nargs=2, default=[41, 41], metavar=shape, help="of the cues (default 41 41)")


@conversion
def run(args: argparse.Namespace) -> Converted:
    """Convert the cues."""
    from wss_monai.data.releases.localization_cues import prepare_localization_cues

    done = prepare_localization_cues(args.source, args.out, args.list, args.num_classes, tuple(args.grid))
    return done, f"cues of {done.cases} images"
