# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report table`: mean (standard deviation) of the scores of runs, over cases or over seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_table", "run"]


def add_table(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what `report table` takes."""
    parser = kinds.add_parser(
        "table",
        help="mean (std) of the scores as Markdown, CSV or LaTeX",
        description=f"{__doc__} Runs that share all that run.json says but the seed make one row, over seeds; a run "
        "alone is averaged over its cases, or their slices.",
    )
    parser.add_argument("--runs", nargs="+", type=Path, required=True, metavar="DIR", help="evaluated run folders")
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=["dice"],
        metavar="NAME",
        help="dice iou hd95_mm asd_mm volume_error_ml volume_error_ml_abs slice_dice slice_dice_shown "
        "slice_dice_positive size_difference size_difference_abs ... (default: dice)",
    )
    parser.add_argument(
        "--format", choices=("markdown", "csv", "latex"), default="markdown", help="(default: %(default)s)"
    )
    parser.add_argument("--labels", nargs="+", metavar="TEXT", help="names of the rows (default: mode or folder)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: print)")
    parser.set_defaults(make=run)


def run(args: argparse.Namespace) -> int:
    """Write or print the table.

    Raises:
        FileNotFoundError: a run or a file in it is missing.
        ValueError: a run is not evaluated or has no such metric.
    """
    from wss_monai.io.atomic_files import replacing
    from wss_monai.report.score_table import score_table, table_text

    text = table_text(score_table(args.runs, args.metrics, labels=args.labels), args.format)
    if args.out is None:
        print(text, end="")
        return 0
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(args.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"written: {args.out}")
    return 0
