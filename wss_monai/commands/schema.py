# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai schema`: print or write the JSON Schema of `dataset.json`.

An editor that has it completes keys and marks mistakes while you type. Write it beside the file and name it there:
"$schema": "dataset.schema.json".
"""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `schema`."""
    parser = subparsers.add_parser("schema", help="the JSON Schema of dataset.json, for editors", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: print it)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the schema, or write it whole or not at all.

    Raises:
        ValueError: the file is there already and is no such schema.
    """
    from wss_monai.data.json_schema import dataset_schema_text
    from wss_monai.io.atomic_files import check_replaceable, write_text

    text = dataset_schema_text()
    if args.out is None:
        print(text, end="")
        return 0
    check_replaceable(args.out, "--out", holds=(b'"title": "dataset.json of wss_monai"',))
    write_text(args.out, text)
    print(f'wrote {args.out}; a dataset.json beside it names it as "$schema": "{args.out.name}"')
    return 0
