# SPDX-License-Identifier: Apache-2.0
"""Generate pictures: a disc inside a grey ring, in noise, with a small disc drawn."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.synthesize.generation import generation, shared
from wss_monai.commands.synthesize.pictures import add_picture_options, write_pictures

HELP = "a disc inside a grey ring, in noise, with a small disc drawn"
SHARED = shared("data/TOY", "pictures")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this kind."""
    add_picture_options(parser, (10, 10), 50)
    parser.add_argument("--edition", choices=("2019", "2022"), default="2022",
                        help="of the tutorial: 2019 has brighter greys (49, 167, 231 after noise) and a weak disc of a "
                        "fifth of the radius in place of a tenth (default: %(default)s)")  # fmt: skip


@generation
def run(args: argparse.Namespace, out: Path) -> str:
    """Generate discs."""
    from wss_monai.data.phantoms.toy import Discs

    return write_pictures(args, out, Discs(tuple(args.size), args.radius, args.edition))
