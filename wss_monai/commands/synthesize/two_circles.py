# SPDX-License-Identifier: Apache-2.0
"""Generate pictures: a white and a grey circle, in noise; the grey one is wanted."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.synthesize.generation import generation, shared
from wss_monai.commands.synthesize.pictures import add_picture_options, write_pictures

HELP = "a white and a grey circle, in noise; the grey one is wanted"
SHARED = shared("data/TOY2", "pictures")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this kind."""
    add_picture_options(parser, (1000, 100), 25)
    text = "ellipses, half axes 1 to the radius less 1, in place of circles"
    parser.add_argument("--ellipses", action="store_true", help=text)
    text = "weak ellipses of a tenth of each half axis, as published; some are empty (default: a disc)"
    parser.add_argument("--small-weak", action="store_true", help=text)


@generation
def run(args: argparse.Namespace, out: Path) -> str:
    """Generate circles."""
    from wss_monai.data.phantoms.toy import Circles

    return write_pictures(args, out, Circles(tuple(args.size), args.radius, args.ellipses, args.small_weak))
