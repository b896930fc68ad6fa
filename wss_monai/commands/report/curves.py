# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report curves`: loss, size difference and other columns of metrics.csv, several runs in one."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_curves", "limits", "run"]


def add_curves(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what `report curves` takes."""
    parser = kinds.add_parser("curves", help="columns of metrics.csv over the epochs, one figure", description=__doc__)
    parser.add_argument("--runs", nargs="+", type=Path, required=True, metavar="DIR", help="run folders (output_dir)")
    parser.add_argument(
        "--out", type=Path, default=Path("curves.png"), help="file to write: .png, .svg or .pdf (default: %(default)s)"
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME",
        help="columns of metrics.csv, a panel each (default: loss, val_size_difference or size_difference, loss_size, "
        "where they are)",
    )
    parser.add_argument("--by", choices=("class",), help="class: a panel for each class below a column that has them")
    parser.add_argument(
        "--smooth", type=int, default=1, metavar="N", help="draw means of N points up to each (default: %(default)s)"
    )
    parser.add_argument("--labels", nargs="+", metavar="TEXT", help="names of the runs (default: mode, seed or folder)")
    parser.add_argument("--title", help="heading of the figure")
    parser.add_argument(
        "--ylim", nargs="+", default=[], metavar="NAME=LOW:HIGH", help="ends of an axis, such as val_dice=0.8:1"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write what is drawn as a table too")
    parser.set_defaults(make=run)


def run(args: argparse.Namespace) -> int:
    """Write the figure and the table.

    Raises:
        FileNotFoundError: a run or a file in it is missing.
        ValueError: a column is nowhere, or an argument does not fit.
    """
    ends = dict(limits(text) for text in args.ylim)

    from wss_monai.report.curves import write_curves

    drawn = write_curves(
        args.runs,
        args.out,
        columns=args.columns,
        by_class=args.by == "class",
        smooth=args.smooth,
        labels=args.labels,
        title=args.title,
        limits=ends,
        table=args.csv,
    )
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
