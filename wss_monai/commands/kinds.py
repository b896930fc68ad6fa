# SPDX-License-Identifier: Apache-2.0
"""Verbs that do one of several kinds of things, a module a kind, and the options that kinds share."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["LABELS", "OVERWRITE", "TITLE", "add_kinds", "new_folder", "option", "out_file", "pixels", "runs", "seed",
           "seed_number"]  # fmt: skip

LARGEST_SIDE = 4096
"""Pixels along a side of what is generated."""


def add_kinds(parser: argparse.ArgumentParser, package: str, names: Sequence[str], metavar: str) -> None:
    """Add kinds to a verb.

    Args:
        parser: of the verb.
        package: dotted name of the folder of the modules.
        names: of the kinds; the module of `two-circles` is `two_circles`. A module has `HELP`, in a line;
            `DESCRIPTION`, if it is not what the module says; `SHARED`, parsers of options that it shares, if any;
            `add_options(parser)`, for its own; and `run(args)`, which gives the exit code.
        metavar: what the help calls a kind.
    """
    kinds = parser.add_subparsers(dest=metavar.lower(), required=True, metavar=metavar)
    for name in names:
        module: Any = importlib.import_module(f"{package}.{name.replace('-', '_')}")
        description = getattr(module, "DESCRIPTION", module.__doc__)
        kind = kinds.add_parser(name, help=module.HELP, description=description, parents=getattr(module, "SHARED", []))
        module.add_options(kind)
        kind.set_defaults(run=module.run)


def option(*flags: str, **settings: Any) -> argparse.ArgumentParser:
    """Make an option that kinds share, for `parents`; arguments as of `add_argument`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*flags, **settings)
    return parser


def new_folder(example: str = "") -> argparse.ArgumentParser:
    """--out, a folder to make."""
    return option("--out", required=True, help="folder to make" + (example and f", for example {example}"))


def seed_number(text: str) -> int:
    """Read a seed; one beyond 32 bits is refused here, a negative one where it is used.

    Raises:
        ArgumentTypeError: it is too large.
    """
    return _at_most(int(text), 2**32 - 1)


def pixels(text: str) -> int:
    """Read the side of a picture; beyond `LARGEST_SIDE` a volume would not fit into memory.

    Raises:
        ArgumentTypeError: it is too large.
    """
    return _at_most(int(text), LARGEST_SIDE)


def _at_most(value: int, most: int) -> int:
    if value > most:
        raise argparse.ArgumentTypeError(f"must be {most} at most, got {str(value)[:40]}")
    return value


def seed(of: str) -> argparse.ArgumentParser:
    """--seed of what is generated."""
    return option("--seed", type=seed_number, default=0, help=f"another seed, other {of} (default: %(default)s)")


def runs(which: str) -> argparse.ArgumentParser:
    """--runs, folders of runs."""
    return option("--runs", nargs="+", type=Path, required=True, metavar="DIR", help=which)


def out_file(name: str) -> argparse.ArgumentParser:
    """--out, a file to write."""
    kinds = ": .png, .svg or .pdf" if name.endswith(".png") else ""
    return option("--out", type=Path, default=Path(name), help=f"file to write{kinds} (default: %(default)s)")


OVERWRITE = option("--overwrite", action="store_true", help="write into a folder that holds files already")
LABELS = option("--labels", nargs="+", metavar="TEXT", help="names of the runs (default: mode, seed or folder)")
TITLE = option("--title", help="heading of the figure")
