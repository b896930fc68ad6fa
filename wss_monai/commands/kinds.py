# SPDX-License-Identifier: Apache-2.0
"""Verbs that do one of several kinds of things, a module a kind, and the options that kinds share."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "LABELS",
    "OVERWRITE",
    "TITLE",
    "add_kinds",
    "check_out",
    "new_folder",
    "option",
    "out_file",
    "pixels",
    "runs",
    "seed",
    "seed_number",
    "told_failures",
]

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


PAGES = ((b"<!DOCTYPE html>",), (b"Content-Security-Policy", b"default-src 'none'; img-src data:"))
FIGURES = {
    ".png": ((b"\x89PNG",), (b"Matplotlib",)),
    ".svg": ((b"<?xml",), (b"Matplotlib",)),
    ".pdf": ((b"%PDF",), ()),
    ".gif": ((b"GIF8",), ()),
    ".html": PAGES,
    ".htm": PAGES,
}
"""Ending -> how a file that a report writes begins, and what it holds at its beginning."""
TABLES = (b"run,", b"| run |", b"% Mean ")


def check_out(*named: tuple[str, Path | None]) -> None:
    """Refuse to write a figure, page or table over a file that no report wrote.

    Args:
        named: option and file, None where there is none.

    Raises:
        ValueError: such a file is there.
    """
    from wss_monai.io.atomic_files import check_replaceable

    for flag, path in named:
        begins, holds = FIGURES.get("" if path is None else path.suffix.lower(), (TABLES, ()))
        check_replaceable(path, flag, begins, holds)


OVERWRITE = option("--overwrite", action="store_true", help="write into a folder that holds files already")
LABELS = option("--labels", nargs="+", metavar="TEXT", help="names of the runs (default: mode, seed or folder)")
TITLE = option("--title", help="heading of the figure")


def told_failures(failed: Mapping[str, str], consequence: str) -> int:
    """Print what could not be done of a folder of cases, a line each, and give the exit code: 1 where there is any.

    Args:
        failed: case -> why.
        consequence: what that means for them, such as "left out".
    """
    for case, why in failed.items():
        print(f"failed: {case}: {' '.join(why.split())}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} case{'s' * (len(failed) > 1)} failed: {consequence}", file=sys.stderr)
    return int(bool(failed))
