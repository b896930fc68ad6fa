# SPDX-License-Identifier: Apache-2.0
"""``python -m wss_monai synthesize cardiac``: generate a data set, so that nothing has to be downloaded."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.synthesize.ellipsoids import add_ellipsoids
from wss_monai.commands.synthesize.promise12 import add_promise12
from wss_monai.commands.synthesize.prostate import add_prostate
from wss_monai.commands.synthesize.toy import add_toy, add_two_circles

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb ``synthesize`` with one sub-verb a data set."""
    parser = subparsers.add_parser("synthesize", help="generate a data set", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    _add_cardiac(kinds)
    add_toy(kinds, run)
    add_two_circles(kinds, run)
    add_promise12(kinds, run)
    add_prostate(kinds, run)
    add_ellipsoids(kinds, run)


def _add_cardiac(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "short-axis cine MRI of the heart with scribbles"
    cardiac = kinds.add_parser("cardiac", help=text, description=f"Generate {text}, two volumes a patient.")
    cardiac.add_argument("--out", required=True, help="folder to make, for example data/PHANTOM")
    cardiac.add_argument("--patients", type=int, default=24, help="how many patients (default: %(default)s)")
    cardiac.add_argument("--seed", type=int, default=0, help="another seed, other patients (default: %(default)s)")
    cardiac.add_argument("--overwrite", action="store_true", help="write into a folder that holds files already")
    cardiac.set_defaults(run=run, synthesize=_cardiac)


def run(args: argparse.Namespace) -> int:
    """Generate the data set asked for into ``args.out`` and print what was written.

    Raises:
        ValueError: if ``--out`` is a file, or a folder that is not empty without ``--overwrite``.
    """
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: '{out}' is a file; name a folder")
    if not args.overwrite and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"--out: folder '{out}' is not empty; name another one, or add --overwrite to write into it")
    print(args.synthesize(args, out))
    return 0


def _cardiac(args: argparse.Namespace, out: Path) -> str:
    import json

    from tqdm import tqdm

    from wss_monai.data.phantoms.cardiac import synthesize_cardiac

    path = synthesize_cardiac(
        out, args.patients, args.seed, progress=lambda indices: tqdm(indices, desc="patients", unit="patient")
    )
    lists = json.loads(path.read_text(encoding="utf-8"))
    count = {name: len({case["patient"] for case in lists[name]}) for name in ("training", "test")}
    volumes = len(lists["training"]) + len(lists["test"])
    return f"{path}: {count['training']} training and {count['test']} test patients, {volumes} volumes with scribbles"
