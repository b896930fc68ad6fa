# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai synthesize promise12`: generated prostate MRI in the layout of the PROMISE12 release."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

__all__ = ["add_promise12"]


def add_promise12(
    kinds: argparse._SubParsersAction[argparse.ArgumentParser], run: Callable[[argparse.Namespace], int]
) -> None:
    """Add the kind `promise12`; `run` checks the folder and calls `args.synthesize`."""
    text = "T2-weighted MRI of the prostate in the layout of the PROMISE12 release (.mhd and .raw)"
    parser = kinds.add_parser(
        "promise12", help=text, description=f"Generate {text}; `prepare promise12` makes a data set of it."
    )
    parser.add_argument("--out", required=True, help="folder to make, for example data/PROMISE12_LAYOUT")
    parser.add_argument("--cases", type=int, default=12, help="how many with a segmentation (default: %(default)s)")
    parser.add_argument("--test", type=int, default=0, help="how many more without one (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other cases (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, help="pixels along the sides of a slice, for small ones (default: drawn, 256 or 320)"
    )
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that holds files already")
    parser.set_defaults(run=run, synthesize=_promise12)


def _promise12(args: argparse.Namespace, out: Path) -> str:
    from tqdm import tqdm

    from wss_monai.data.phantoms.promise12 import synthesize_promise12

    path = synthesize_promise12(
        out,
        args.cases,
        args.seed,
        test=args.test,
        size=args.size,
        progress=lambda indices: tqdm(indices, desc="cases", unit="case"),
    )
    return f"{path}: {args.cases} cases with a segmentation and {args.test} without"
