# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report table`: mean (standard deviation) of the scores of runs, over cases or over seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.kinds import LABELS, check_out, runs

HELP = "mean (std) of the scores as Markdown, CSV or LaTeX"
DESCRIPTION = (
    f"{__doc__} Runs that share all that run.json says but the seed make one row, over seeds; a run alone is averaged "
    "over its cases, or their slices."
)
SHARED = [runs("evaluated run folders"), LABELS]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `report table` takes."""
    add = parser.add_argument
    add("--metrics", nargs="+", metavar="NAME",
        help="dice iou hd95_mm asd_mm volume_ml volume_error_ml volume_error_ml_abs strokes_right stroke_recall "
        "partial_ce slice_dice slice_dice_shown slice_dice_positive size_difference size_difference_abs ... (default: "
        "dice, without dense masks strokes_right stroke_recall)")  # fmt: skip
    add("--format", choices=("markdown", "csv", "latex"), default="markdown", help="(default: %(default)s)")
    add("--out", type=Path, metavar="FILE", help="file to write (default: print)")


def run(args: argparse.Namespace) -> int:
    """Write or print the table.

    Raises:
        FileNotFoundError: a run or a file in it is missing.
        ValueError: a run is not evaluated or has no such metric.
    """
    from wss_monai.io.atomic_files import write_text
    from wss_monai.report.score_table import score_table, table_text

    check_out(("--out", args.out))
    text = table_text(score_table(args.runs, args.metrics, labels=args.labels), args.format)
    if args.out is None:
        print(text, end="")
        return 0
    write_text(args.out, text)
    print(f"written: {args.out}")
    return 0
