# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai synthesize ellipsoids`: 3D volumes of a body in two parts, to stand in for the hippocampus."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

__all__ = ["add_ellipsoids"]


def add_ellipsoids(
    kinds: argparse._SubParsersAction[argparse.ArgumentParser], run: Callable[[argparse.Namespace], int]
) -> None:
    """Add the kind `ellipsoids`; `run` checks the folder and calls `args.synthesize`."""
    text = "3D volumes at 1 mm of a bent body in two parts, like the hippocampus in T1 MRI"
    parser = kinds.add_parser(
        "ellipsoids", help=text, description=f"Generate {text}; `weaken` draws weak labels on them."
    )
    parser.add_argument("--out", required=True, help="folder to make, for example data/ELLIPSOIDS")
    parser.add_argument(
        "--patients", type=int, default=24, help="how many; every other one has two volumes (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other patients (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that holds files already")
    parser.set_defaults(run=run, synthesize=_ellipsoids)


def _ellipsoids(args: argparse.Namespace, out: Path) -> str:
    import json

    from tqdm import tqdm

    from wss_monai.data.phantoms.ellipsoids import synthesize_ellipsoids

    path = synthesize_ellipsoids(
        out, args.patients, args.seed, progress=lambda indices: tqdm(indices, desc="patients", unit="patient")
    )
    lists = json.loads(path.read_text(encoding="utf-8"))
    count = {name: len({case["patient"] for case in lists[name]}) for name in ("training", "test")}
    volumes = len(lists["training"]) + len(lists["test"])
    return f"{path}: {count['training']} training and {count['test']} test patients, {volumes} volumes"
