# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai VERB ...` or `wss-monai VERB ...`: generate or prepare data, make weak labels, write reports.

Training, evaluation and inference are MONAI's: `python -m monai.bundle run --config_file bundles/...`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from wss_monai import __version__
from wss_monai.commands.former import current
from wss_monai.io.faults import one_line

__all__ = ["VERBS", "main"]

VERBS = (
    "synthesize",
    "prepare",
    "check",
    "bundles",
    "schema",
    "plan",
    "run",
    "crossval",
    "weaken",
    "pseudo-label",
    "bounds",
    "predict",
    "label-app",
    "score",
    "export",
    "report",
)
"""Verbs, each a module of wss_monai.commands (with _ for -), whose `add_parser(subparsers)` adds it and sets `run`."""

COMMAND = "wss-monai"
"""The command that an installation adds (setup.cfg, entry points); it exits with what `main` returns."""


def program() -> str:
    """Name under which this process was started: that of the installed command, or of the package."""
    return COMMAND if Path(sys.argv[0]).stem == COMMAND else "wss_monai"


def make_parser() -> argparse.ArgumentParser:
    """Make the command line of all verbs; their modules import heavy packages only when they run."""
    parser = argparse.ArgumentParser(prog=program(), description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--version", action="version", version=f"wss_monai {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS:
        module = importlib.import_module(f"wss_monai.commands.{verb.replace('-', '_')}")
        module.add_parser(subparsers)
    _without_quotes(parser)
    return parser


def _without_quotes(parser: argparse.ArgumentParser) -> None:
    """Show descriptions, which are docstrings, without the back quotes that stand around code in them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in dict.fromkeys(action.choices.values()):
                inner.description = (inner.description or "").replace("`", "")
                _without_quotes(inner)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: the arguments; None: those of the process. `--debug` may stand anywhere.

    Returns:
        The exit code: 0, what the verb returns (1: cases failed, or a check found errors), or 2 for an error of the
        user's, which is printed on one line. Ctrl-C: 130.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    args = make_parser().parse_args(current([word for word in words if word != "--debug"]))
    try:
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        print(f"{program()} {args.verb}: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        if debug:
            raise
        print(f"{program()} {args.verb}: error: {one_line(error)}", file=sys.stderr)
        return int(getattr(error, "exit_code", 2))
    except MemoryError as error:
        if debug:
            raise
        told = f"not enough memory: {one_line(error) or 'no word of what for'}; ask for less (--size, --jobs)"
        print(f"{program()} {args.verb}: error: {told}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
