# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report penalties`: the quadratic, ReLU and log-barrier penalties over the violation."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_penalties", "run"]


def add_penalties(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what `report penalties` takes."""
    parser = kinds.add_parser("penalties", help="the penalties as curves", description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("penalties.png"),
        help="file to write: .png, .svg or .pdf (default: %(default)s)",
    )
    parser.add_argument(
        "--t", nargs="+", type=float, default=[1.0, 5.0, 20.0], help="of the log-barrier (default: 1 5 20)"
    )
    parser.add_argument(
        "--zlim", nargs=2, type=float, default=[-2.0, 1.0], metavar=("LOW", "HIGH"), help="(default: -2 1)"
    )
    parser.set_defaults(make=run)


def run(args: argparse.Namespace) -> int:
    """Write the figure.

    Raises:
        ValueError: an argument does not fit.
    """
    from wss_monai.report.penalties import write_penalties

    write_penalties(args.out, t=args.t, limits=tuple(args.zlim))
    print(f"written: {args.out}")
    return 0
