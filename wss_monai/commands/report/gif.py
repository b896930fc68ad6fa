# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai report gif`: how the predictions of several runs change over training, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.kinds import check_out, out_file, runs

HELP = "a film of one case over the epochs of several runs, a frame for each validation (--val_interval)"
SHARED = [runs("run folders, left to right"), out_file("result.gif")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `report gif` takes."""
    add = parser.add_argument
    add("--case", help="case to show (default: the first that all runs show)")
    add("--panel", default="prediction", help="panel of each run (default: %(default)s)")
    text = 'panels before them: image, "weak label", reference'
    add("--beside", nargs="+", default=[], metavar="PANEL", help=text)
    text = "one a run (default: what the loss consists of, or the name)"
    add("--captions", nargs="+", metavar="TEXT", help=text)
    add("--seconds", type=float, default=0.2, help="how long a frame stays (default: %(default)s)")
    add("--scale", type=int, help="times the size in the snapshots (default: 1, small ones 2)")
    add("--still", type=Path, metavar="PNG", help="the last frame beside image, weak label and reference")


def run(args: argparse.Namespace) -> int:
    """Write the GIF and print what it shows.

    Raises:
        FileNotFoundError: a run or its snapshots are missing.
        ValueError: the runs do not go together, or an argument does not fit.
    """
    from wss_monai.io.atomic_files import check_replaceable
    from wss_monai.report.gif import write_gif

    check_out(("--out", args.out))
    check_replaceable(args.still, "--still", (b"\x89PNG",))
    names = ("case", "panel", "beside", "captions", "seconds", "scale", "still")
    film = write_gif(args.runs, args.out, **{name: getattr(args, name) for name in names})
    frames = "1 frame, epoch" if len(film.epochs) == 1 else f"{len(film.epochs)} frames, epochs"
    span = f"{film.epochs[0]}" if len(film.epochs) == 1 else f"{film.epochs[0]} to {film.epochs[-1]}"
    print(f"written: {film.path} ({film.case}, {frames} {span}: {' | '.join(film.captions)})")
    if args.still is not None:
        print(f"written: {args.still}")
    return 0
