# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report compare`: histograms and box plots of the cases' scores, several runs in one figure."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_compare", "run"]


def add_compare(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what `report compare` takes."""
    parser = kinds.add_parser("compare", help="histograms and box plots of the cases' scores", description=__doc__)
    parser.add_argument("--runs", nargs="+", type=Path, required=True, metavar="DIR", help="evaluated run folders")
    parser.add_argument(
        "--out", type=Path, default=Path("compare.png"), help="file to write: .png, .svg or .pdf (default: %(default)s)"
    )
    parser.add_argument(
        "--metric",
        default="dice",
        help="of the cases: dice, hd95_mm ...; of slices: slice_dice, size_difference ... (default: %(default)s)",
    )
    parser.add_argument("--by", choices=("class",), help="class: each class too, not the mean of the classes alone")
    parser.add_argument("--labels", nargs="+", metavar="TEXT", help="names of the runs (default: mode, seed or folder)")
    parser.add_argument("--title", help="heading of the figure")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the numbers of the boxes as a table too")
    parser.set_defaults(make=run)


def run(args: argparse.Namespace) -> int:
    """Write the figure, and print the numbers of the boxes.

    Raises:
        FileNotFoundError: a run or a file in it is missing.
        ValueError: a run is not evaluated or has no such metric, or an argument does not fit.
    """
    from wss_monai.report.compare import spread_table, write_comparison

    rows = write_comparison(
        args.runs,
        args.out,
        metric=args.metric,
        by_class=args.by == "class",
        labels=args.labels,
        title=args.title,
        table=args.csv,
    )
    print(spread_table(rows))
    print(f"written: {args.out}")
    if args.csv is not None:
        print(f"written: {args.csv}")
    return 0
