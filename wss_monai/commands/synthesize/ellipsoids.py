# SPDX-License-Identifier: Apache-2.0
"""Generate 3D volumes at 1 mm of a bent body in two parts, like the hippocampus in T1 MRI; `weaken` draws labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.synthesize.generation import generation, shared, told, with_bar

HELP = "3D volumes at 1 mm of a bent body in two parts, like the hippocampus in T1 MRI"
SHARED = shared("data/ELLIPSOIDS", "patients")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this kind."""
    text = "how many; every other one has two volumes (default: %(default)s)"
    parser.add_argument("--patients", type=int, default=24, help=text)


@generation
def run(args: argparse.Namespace, out: Path) -> str:
    """Generate ellipsoids."""
    from wss_monai.data.phantoms.ellipsoids import synthesize_ellipsoids

    patients, volumes = told(synthesize_ellipsoids(out, args.patients, args.seed, progress=with_bar("patient")))
    return f"{patients}, {volumes} volumes"
