# SPDX-License-Identifier: Apache-2.0
"""Write one HTML file with tables, curves, pictures of cases and the satisfaction of the constraints."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.kinds import check_out, out_file, runs

HELP = "one HTML file with tables, curves, pictures of cases and the satisfaction of the constraints"
SHARED = [runs("run folders (output_dir)"), out_file("report.html")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `report html` takes."""
    parser.add_argument("--title", help="heading of the page (default: the data set and the modes)")
    text = "cases shown, from best to worst (default: %(default)s)"
    parser.add_argument("--cases", type=int, default=3, help=text)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from wss_monai.report import write_report

    check_out(("--out", Path(args.out)))
    print(f"written: {write_report(args.runs, args.out, title=args.title, cases=args.cases)}")
    return 0
