# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report gif`: how the predictions of several runs change over training, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_gif", "run"]


def add_gif(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what `report gif` takes."""
    parser = kinds.add_parser("gif", help="a film of one case over the epochs of several runs", description=__doc__)
    parser.add_argument("--runs", nargs="+", type=Path, required=True, metavar="DIR", help="run folders, left to right")
    parser.add_argument("--out", type=Path, default=Path("result.gif"), help="file to write (default: %(default)s)")
    parser.add_argument("--case", help="case to show (default: the first that all runs show)")
    parser.add_argument("--panel", default="prediction", help="panel of each run (default: %(default)s)")
    parser.add_argument(
        "--beside", nargs="+", default=[], metavar="PANEL", help='panels before them: image, "weak label", reference'
    )
    parser.add_argument(
        "--captions", nargs="+", metavar="TEXT", help="one a run (default: what the loss consists of, or the name)"
    )
    parser.add_argument("--seconds", type=float, default=0.2, help="how long a frame stays (default: %(default)s)")
    parser.add_argument("--scale", type=int, help="times the size in the snapshots (default: 1, small ones 2)")
    parser.add_argument(
        "--still", type=Path, metavar="PNG", help="the last frame beside image, weak label and reference"
    )
    parser.set_defaults(make=run)


def run(args: argparse.Namespace) -> int:
    """Write the GIF and print what it shows.

    Raises:
        FileNotFoundError: a run or its snapshots are missing.
        ValueError: the runs do not go together, or an argument does not fit.
    """
    from wss_monai.report.gif import write_gif

    film = write_gif(
        args.runs,
        args.out,
        case=args.case,
        panel=args.panel,
        beside=args.beside,
        captions=args.captions,
        seconds=args.seconds,
        scale=args.scale,
        still=args.still,
    )
    frames = "1 frame, epoch" if len(film.epochs) == 1 else f"{len(film.epochs)} frames, epochs"
    span = f"{film.epochs[0]}" if len(film.epochs) == 1 else f"{film.epochs[0]} to {film.epochs[-1]}"
    print(f"written: {film.path} ({film.case}, {frames} {span}: {' | '.join(film.captions)})")
    if args.still is not None:
        print(f"written: {args.still}")
    return 0
