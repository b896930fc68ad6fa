# SPDX-License-Identifier: Apache-2.0
"""Write one HTML file to look through random cases, the predictions of several runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.kinds import check_out, out_file, runs, seed_number

HELP = "one HTML file to look through random cases, the predictions of several runs side by side"
SHARED = [runs("run folders, evaluated on the same cases"), out_file("browse.html")]
MAPS = ["weak_label", "label"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `report browse` takes."""
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="their data set, if its files are not where they were at evaluation")
    add("-n", "--cases", type=int, default=20, help="how many cases to draw (default: %(default)s)")
    add("--seed", type=seed_number, default=0, help="seed of the draw (default: %(default)s)")
    add("--pattern", metavar="REGEX", help="only cases whose id it matches somewhere")
    text = "what stands beside the predictions (default: both, where cases have them)"
    add("--show", nargs="*", default=MAPS, choices=MAPS, help=text)
    add("--names", nargs="+", metavar="NAME", help="what to call the runs, in their order (default: their modes)")
    add("--classes", nargs="+", metavar="CLASS", help="names or indices of those coloured at first (default: all)")
    add("--slices", type=int, default=24, help="slices of a case at most (default: %(default)s)")
    add("--crop", type=float, metavar="MM", help="leave out what is farther from the reference (default: whole slices)")
    add("--opacity", type=float, default=0.5, help="of the class colours at first (default: %(default)s)")
    add("--no-contours", action="store_true", help="no contours at first")
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="page of `report html` to link to (default: report.html beside --out)",
    )
    text = "write nothing if the page is larger (default: %(default)g)"
    add("--limit-mb", type=float, default=50.0, metavar="MB", help=text)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from wss_monai.report.browse import write_browser

    check_out(("--out", args.out))
    names = (
        "data",
        "cases",
        "seed",
        "pattern",
        "show",
        "names",
        "classes",
        "slices",
        "crop",
        "opacity",
        "limit_mb",
        "report",
    )
    options = {name: getattr(args, name) for name in names}
    out = write_browser(args.runs, args.out, contours=not args.no_contours, **options)
    print(f"written: {out} ({out.stat().st_size / 1e6:.1f} MB); open it in a browser")
    return 0
