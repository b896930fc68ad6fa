# SPDX-License-Identifier: Apache-2.0
"""`wss-monai bundles`: list the bundles that come with the package, or copy one to run and to change.

A copy runs from any folder. It goes into a folder `bundles` if nothing else is said, where the commands of the pages
work as they stand: data and runs are then beside `bundles`. Elsewhere they are in the folder of the command.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

__all__ = ["add_parser", "run"]

WIDTH = 100


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `bundles`."""
    parser = subparsers.add_parser(
        "bundles", help="list the bundles, or copy one", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(run=run, deed="list")
    deeds = parser.add_subparsers(dest="deed", metavar="list|copy")
    deeds.add_parser("list", help="list them (default)", description="List the bundles that come with the package.")
    copy = deeds.add_parser("copy", help="copy one", description="Copy a bundle into a folder of your own.")
    copy.add_argument("name", metavar="NAME", help="of the bundle, as listed")
    copy.add_argument("--out", type=Path, metavar="FOLDER", help="the folder that becomes the bundle "
        "(default: bundles/NAME)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """List the bundles, or copy one and say how to run it.

    Raises:
        ValueError: there is no such bundle.
        FileExistsError, FileNotFoundError: the folder is taken, or the bundles are missing.
    """
    from wss_monai.io.shipped_bundles import copy_bundle, shipped_bundles

    if args.deed != "copy":
        bundles = shipped_bundles()
        indent = max(len(bundle.name) for bundle in bundles) + 2
        for bundle in bundles:
            words = bundle.task + (" (with weights)" if bundle.weights else "")
            print(textwrap.fill(words, WIDTH, initial_indent=bundle.name.ljust(indent), subsequent_indent=" " * indent))
        return 0
    out = copy_bundle(args.name, args.out or Path("bundles") / args.name)
    print(f"written: {out}; read {(out / 'docs' / 'README.md').as_posix()}, then:")
    print(f"  wss-monai run training --config_file {(out / 'configs' / 'train.yaml').as_posix()} --dataset_dir FOLDER")
    return 0
