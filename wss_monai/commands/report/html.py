# SPDX-License-Identifier: Apache-2.0
"""Write one HTML file with tables, curves, pictures of cases and the satisfaction of the constraints."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.kinds import check_out, out_file, runs

HELP = "one HTML file with tables, curves, pictures of cases and the satisfaction of the constraints"
ALL = 1000
"""Cases of the page to browse; beyond its limit of megabytes it is refused with an advice."""
SHARED = [runs("run folders (output_dir)"), out_file("report.html")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `report html` takes."""
    parser.add_argument("--title", help="heading of the page (default: the data set and the modes)")
    text = "cases shown, spread from best to worst by Dice, without masks by strokes right (default: %(default)s)"
    parser.add_argument("--cases", type=int, default=3, help=text)
    text = "write the page to browse all cases too, and link both (default name: browse.html beside --out)"
    parser.add_argument("--browse", nargs="?", const=True, metavar="FILE", help=text)
    text = "show the page in the browser when it is written"
    parser.add_argument("--open", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    import webbrowser

    from wss_monai.report import write_report
    from wss_monai.report.browse import write_browser

    out = Path(args.out)
    browser = out.with_name("browse.html") if args.browse is True else args.browse and Path(args.browse)
    check_out(("--out", out), ("--browse", browser))
    if browser:
        if browser.resolve() == out.resolve():
            raise ValueError(f"--browse names the page of --out, {out}: give another file.")
        write_browser(args.runs, browser, cases=ALL, report=out)
        print(f"written: {browser} ({browser.stat().st_size / 1e6:.1f} MB)")
    write_report(args.runs, out, title=args.title, cases=args.cases, browser=browser)
    print(f"written: {out} ({out.stat().st_size / 1e6:.1f} MB); open it in a browser")
    if args.open:
        webbrowser.open(out.resolve().as_uri())
    return 0
