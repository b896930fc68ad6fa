# SPDX-License-Identifier: Apache-2.0
"""What the pictures of the tutorials share on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from wss_monai.commands.kinds import pixels
from wss_monai.commands.synthesize.generation import with_bar

if TYPE_CHECKING:
    from wss_monai.data.phantoms.toy import Circles, Discs

__all__ = ["add_picture_options", "write_pictures"]


def add_picture_options(parser: argparse.ArgumentParser, images: tuple[int, int], radius: int) -> None:
    """Add the options that all pictures have, with defaults of their own."""
    add, two = parser.add_argument, ("TRAIN", "VAL")
    counts = f"how many pictures (default: {images[0]} {images[1]})"
    add("--images", nargs=2, type=int, default=images, metavar=two, help=counts)
    sides = "of a picture, pixels (default: 256 256)"
    add("--size", nargs=2, type=pixels, default=(256, 256), metavar=("W", "H"), help=sides)
    add("--radius", type=int, default=radius, help="of what is wanted, pixels (default: %(default)s)")
    text = "standard deviation of the noise of each picture, training first (default: drawn from 0 to 99)"
    add("--noise", nargs="+", type=int, metavar="SIGMA", help=text)
    add("--format", choices=("nifti", "png"), default="nifti",
        help="nifti: one-slice volumes with dataset.json and split.json. png: folders train and val, each with img, "
        "gt and weak, to look at or for other programs (default: %(default)s)")  # fmt: skip


def write_pictures(args: argparse.Namespace, out: Path, toy: Discs | Circles) -> str:
    """Generate pictures, and say how many."""
    from wss_monai.data.phantoms.toy_files import synthesize_toy

    options = {"sigmas": args.noise, "file_format": args.format, "progress": with_bar("picture")}
    path = synthesize_toy(out, toy, tuple(args.images), args.seed, **options)
    return f"{path}: {args.images[0]} training and {args.images[1]} validation pictures, seed {args.seed}"
