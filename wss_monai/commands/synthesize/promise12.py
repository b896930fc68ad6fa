# SPDX-License-Identifier: Apache-2.0
"""Generate T2-weighted MRI of the prostate in the layout of PROMISE12; `prepare promise12` makes a data set of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.kinds import pixels
from wss_monai.commands.synthesize.generation import generation, shared, with_bar

HELP = "T2-weighted MRI of the prostate in the layout of the PROMISE12 release (.mhd and .raw)"
SHARED = shared("data/PROMISE12_LAYOUT", "cases")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this kind."""
    add = parser.add_argument
    add("--cases", type=int, default=12, help="how many with a segmentation (default: %(default)s)")
    add("--test", type=int, default=0, help="how many more without one (default: %(default)s)")
    add("--size", type=pixels, help="pixels along the sides of a slice, for small ones (default: drawn, 256 or 320)")


@generation
def run(args: argparse.Namespace, out: Path) -> str:
    """Generate prostates in the layout of the release."""
    from wss_monai.data.phantoms.promise12 import synthesize_promise12

    sizes = {"test": args.test, "size": args.size}
    path = synthesize_promise12(out, args.cases, args.seed, **sizes, progress=with_bar("case"))
    return f"{path}: {args.cases} cases with a segmentation and {args.test} without"
