# SPDX-License-Identifier: Apache-2.0
"""``python -m wss_monai report``: show what runs did."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.report.browse import add_browse
from wss_monai.commands.report.compare import add_compare
from wss_monai.commands.report.curves import add_curves
from wss_monai.commands.report.gif import add_gif
from wss_monai.commands.report.penalties import add_penalties
from wss_monai.commands.report.table import add_table


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the verb ``report`` and what it can make."""
    parser = subparsers.add_parser("report", help="show what runs did", description="Show what runs did.")
    parser.set_defaults(run=run)
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    _add_html(kinds)
    add_gif(kinds)
    add_browse(kinds)
    add_curves(kinds)
    add_compare(kinds)
    add_table(kinds)
    add_penalties(kinds)
    return parser


def run(args: argparse.Namespace) -> int:
    """Make what was asked for."""
    make: int = args.make(args)
    return make


def _add_html(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "one HTML file with tables, curves, pictures of cases and the satisfaction of the constraints"
    parser = kinds.add_parser("html", help=text, description=f"Write {text}.")
    parser.add_argument("--runs", nargs="+", type=Path, required=True, metavar="DIR", help="run folders (output_dir)")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="file to write (default: %(default)s)")
    parser.add_argument("--title", help="heading of the page (default: the data set and the modes)")
    parser.add_argument("--cases", type=int, default=3, help="cases shown, from best to worst (default: %(default)s)")
    parser.set_defaults(make=_html)


def _html(args: argparse.Namespace) -> int:
    from wss_monai.report import write_report

    print(f"written: {write_report(args.runs, args.out, title=args.title, cases=args.cases)}")
    return 0
