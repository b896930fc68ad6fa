# SPDX-License-Identifier: Apache-2.0
"""Generate brain-like volumes with a tumour in the layout of BraTS; `prepare brats` makes a data set of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.kinds import pixels
from wss_monai.commands.synthesize.generation import generation, shared, with_bar

HELP = "brain-like volumes with a tumour of three parts in the layout of a BraTS release"
SHARED = shared("data/BRATS_LAYOUT", "images")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this kind."""
    add = parser.add_argument
    add("--patients", type=int, default=12, help="how many (default: %(default)s)")
    add("--size", type=pixels, default=240, help="pixels along the sides of a slice (default: %(default)s)")
    add("--modalities", type=int, choices=(2, 4), default=2, help="flair and t1ce, or all four (default: %(default)s)")
    add("--grades", action="store_true", help="folders HGG and LGG")


@generation
def run(args: argparse.Namespace, out: Path) -> str:
    """Generate brains."""
    from wss_monai.data.phantoms.brain import synthesize_brats

    options = {"modalities": args.modalities, "grades": args.grades, "size": args.size}
    synthesize_brats(out, args.patients, args.seed, **options, progress=with_bar("case"))
    wanted = " --modalities T1c FLAIR" if args.modalities == 2 else ""
    return (
        f"{out}: {args.patients} cases of {args.modalities} modalities in the layout of BraTS; a data set of them: "
        f"python -m wss_monai prepare brats --source {out} --out FOLDER{wanted}"
    )
