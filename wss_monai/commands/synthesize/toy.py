# SPDX-License-Identifier: Apache-2.0
"""``python -m wss_monai synthesize toy`` and ``synthesize two-circles``: the pictures of the tutorials."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wss_monai.data.phantoms.toy import Circles, Discs

__all__ = ["add_toy", "add_two_circles"]

Kinds = argparse._SubParsersAction


def add_toy(kinds: Kinds[argparse.ArgumentParser], run: Callable[[argparse.Namespace], int]) -> None:
    """Add the kind ``toy``, run by ``run``."""
    toy = _add(kinds, "toy", "a disc inside a grey ring, in noise, with a small disc drawn", (10, 10), 50, "data/TOY")
    toy.add_argument(
        "--edition",
        choices=("2019", "2022"),
        default="2022",
        help="of the tutorial: 2019 has brighter greys (49, 167, 231 after noise) and a weak disc of a fifth of the "
        "radius in place of a tenth (default: %(default)s)",
    )
    toy.set_defaults(run=run, synthesize=_toy)


def add_two_circles(kinds: Kinds[argparse.ArgumentParser], run: Callable[[argparse.Namespace], int]) -> None:
    """Add the kind ``two-circles``, run by ``run``."""
    text = "a white and a grey circle, in noise; the grey one is wanted"
    circles = _add(kinds, "two-circles", text, (1000, 100), 25, "data/TOY2")
    circles.add_argument(
        "--ellipses", action="store_true", help="ellipses, half axes 1 to the radius less 1, in place of circles"
    )
    circles.set_defaults(run=run, synthesize=_two_circles)


def _add(
    kinds: Kinds[argparse.ArgumentParser], name: str, text: str, images: tuple[int, int], radius: int, example: str
) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, help=text, description=f"Generate pictures: {text}.")
    parser.add_argument("--out", required=True, help=f"folder to make, for example {example}")
    counts = f"how many pictures (default: {images[0]} {images[1]})"
    parser.add_argument("--images", nargs=2, type=int, default=images, metavar=("TRAIN", "VAL"), help=counts)
    pixels = "of a picture, pixels (default: 256 256)"
    parser.add_argument("--size", nargs=2, type=int, default=(256, 256), metavar=("W", "H"), help=pixels)
    parser.add_argument("--radius", type=int, default=radius, help="of what is wanted, pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other pictures (default: %(default)s)")
    parser.add_argument(
        "--noise",
        nargs="+",
        type=int,
        metavar="SIGMA",
        help="standard deviation of the noise of each picture, training first (default: drawn from 0 to 99)",
    )
    parser.add_argument(
        "--format",
        choices=("nifti", "png"),
        default="nifti",
        help="nifti: one-slice volumes with dataset.json and split.json. png: folders train and val, each with img, "
        "gt and weak, to look at or for other programs (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that holds files already")
    return parser


def _toy(args: argparse.Namespace, out: Path) -> str:
    from wss_monai.data.phantoms.toy import Discs

    return _write(args, out, Discs(tuple(args.size), args.radius, args.edition))


def _two_circles(args: argparse.Namespace, out: Path) -> str:
    from wss_monai.data.phantoms.toy import Circles

    return _write(args, out, Circles(tuple(args.size), args.radius, args.ellipses))


def _write(args: argparse.Namespace, out: Path, toy: Discs | Circles) -> str:
    from tqdm import tqdm

    from wss_monai.data.phantoms.toy_files import synthesize_toy

    path = synthesize_toy(
        out,
        toy,
        tuple(args.images),
        args.seed,
        sigmas=args.noise,
        file_format=args.format,
        progress=lambda names: tqdm(names, desc="pictures", unit="picture"),
    )
    return f"{path}: {args.images[0]} training and {args.images[1]} validation pictures, seed {args.seed}"
