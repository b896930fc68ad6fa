# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report curves`: loss, size difference and other columns of metrics.csv, several runs in one."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.kinds import LABELS, TITLE, check_out, out_file, runs

__all__ = ["limits", "run"]

HELP = "columns of metrics.csv over the epochs, one figure"
SHARED = [runs("run folders (output_dir)"), out_file("curves.png"), LABELS, TITLE]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `report curves` takes."""
    add = parser.add_argument
    add("--columns", nargs="+", default=[], metavar="NAME",
        help="columns of metrics.csv, a panel each (default: loss, val_size_difference or size_difference, loss_size, "
        "where they are)")  # fmt: skip
    add("--by", choices=("class",), help="class: a panel for each class below a column that has them")
    add("--smooth", type=int, default=1, metavar="N", help="draw means of N points up to each (default: %(default)s)")
    text = "ends of an axis, such as val_dice=0.8:1"
    add("--ylim", nargs="+", default=[], metavar="NAME=LOW:HIGH", help=text)
    add("--csv", type=Path, metavar="FILE", help="write what is drawn as a table too")


def run(args: argparse.Namespace) -> int:
    """Write the figure and the table.

    Raises:
        FileNotFoundError: a run or a file in it is missing.
        ValueError: a column is nowhere, or an argument does not fit.
    """
    ends = dict(limits(text) for text in args.ylim)

    from wss_monai.report.curves import write_curves

    check_out(("--out", args.out), ("--csv", args.csv))
    options = {"columns": args.columns, "smooth": args.smooth, "labels": args.labels, "title": args.title}
    drawn = write_curves(args.runs, args.out, by_class=args.by == "class", limits=ends, table=args.csv, **options)
    print(f"written: {args.out} ({', '.join(drawn)})")
    if args.csv is not None:
        print(f"written: {args.csv}")
    return 0


def limits(text: str) -> tuple[str, tuple[float, float]]:
    """Read ``NAME=LOW:HIGH``.

    Raises:
        ValueError: it is something else.
    """
    name, _, ends = text.partition("=")
    low, _, high = ends.partition(":")
    try:
        pair = (float(low), float(high))
    except ValueError:
        raise ValueError(f"ylim must be NAME=LOW:HIGH, such as val_dice=0.8:1, got {text!r}.") from None
    if not pair[0] < pair[1]:
        raise ValueError(f"ylim must have its lower end first, got {text!r}.")
    return name, pair
