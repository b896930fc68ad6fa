# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report compare`: histograms and box plots of the cases' scores, several runs in one figure."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.kinds import LABELS, TITLE, check_out, out_file, runs

HELP = "histograms and box plots of the cases' scores"
SHARED = [runs("evaluated run folders"), out_file("compare.png"), LABELS, TITLE]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `report compare` takes."""
    add = parser.add_argument
    text = "of the cases: dice, hd95_mm ...; of slices: slice_dice, size_difference ... (default: %(default)s)"
    add("--metric", default="dice", help=text)
    add("--by", choices=("class",), help="class: each class too, not the mean of the classes alone")
    add("--csv", type=Path, metavar="FILE", help="write the numbers of the boxes as a table too")


def run(args: argparse.Namespace) -> int:
    """Write the figure, and print the numbers of the boxes.

    Raises:
        FileNotFoundError: a run or a file in it is missing.
        ValueError: a run is not evaluated or has no such metric, or an argument does not fit.
    """
    from wss_monai.report.compare import spread_table, write_comparison

    check_out(("--out", args.out), ("--csv", args.csv))
    options = {"metric": args.metric, "labels": args.labels, "title": args.title, "table": args.csv}
    rows = write_comparison(args.runs, args.out, by_class=args.by == "class", **options)
    print(spread_table(rows))
    for file in filter(None, (args.out, args.csv)):
        print(f"written: {file}")
    return 0
