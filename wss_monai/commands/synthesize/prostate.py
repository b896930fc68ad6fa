# SPDX-License-Identifier: Apache-2.0
"""Generate registered T2- and ADC-like volumes of the prostate with slice tags, on zone masks or generated glands."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.kinds import pixels
from wss_monai.commands.synthesize.generation import generation, shared, told, with_bar

HELP = "registered T2- and ADC-like volumes of the prostate with slice tags, on zone masks or generated glands"
SHARED = shared("data/PROSTATE_PAIRS", "images")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this kind."""
    add = parser.add_argument
    add("--zones", default="none", metavar="FOLDER|none",
        help="data set with zone masks (1 peripheral, 2 transition zone) that the glands are painted on, or none for "
        "generated glands (default: %(default)s)")  # fmt: skip
    add("--patients", type=int, help="how many (default: all of the zones; 12 without)")
    add("--test", type=int, help="how many of them, the last ones, are test cases (default: a quarter)")
    add("--size", type=pixels, help="pixels along the sides of a slice (default: the mask's; 320)")
    text = "side of the square cut out of the middle (default: whole slices)"
    add("--field", type=float, metavar="MM", help=text)
    add("--keep-zones", action="store_true", help="two classes, not one of both zones")


@generation
def run(args: argparse.Namespace, out: Path) -> str:
    """Generate prostates."""
    from wss_monai.data.phantoms.prostate import synthesize_prostate

    zones = None if args.zones == "none" else args.zones
    options = {"test": args.test, "size": args.size, "field": args.field, "keep_zones": args.keep_zones}
    path = synthesize_prostate(out, zones, args.patients, args.seed, **options, progress=with_bar("case"))
    return f"{told(path)[0]}, T2 and ADC of each"
