# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report penalties`: the quadratic, ReLU and log-barrier penalties over the violation."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import check_out, out_file

HELP = "the penalties as curves"
SHARED = [out_file("penalties.png")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `report penalties` takes."""
    add, ends = parser.add_argument, ("LOW", "HIGH")
    add("--t", nargs="+", type=float, default=[1.0, 5.0, 20.0], help="of the log-barrier (default: 1 5 20)")
    add("--zlim", nargs=2, type=float, default=[-2.0, 1.0], metavar=ends, help="(default: -2 1)")


def run(args: argparse.Namespace) -> int:
    """Write the figure.

    Raises:
        ValueError: an argument does not fit.
    """
    from wss_monai.report.penalties import write_penalties

    check_out(("--out", args.out))
    write_penalties(args.out, t=args.t, limits=tuple(args.zlim))
    print(f"written: {args.out}")
    return 0
