# SPDX-License-Identifier: Apache-2.0
"""Generate short-axis cine MRI of the heart with scribbles, two volumes a patient."""

from __future__ import annotations

import argparse
from pathlib import Path

from wss_monai.commands.synthesize.generation import generation, shared, told, with_bar

HELP = "short-axis cine MRI of the heart with scribbles"
SHARED = shared("data/PHANTOM", "patients")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this kind."""
    parser.add_argument("--patients", type=int, default=24, help="how many patients (default: %(default)s)")


@generation
def run(args: argparse.Namespace, out: Path) -> str:
    """Generate hearts."""
    from wss_monai.data.phantoms.cardiac import synthesize_cardiac

    patients, volumes = told(synthesize_cardiac(out, args.patients, args.seed, progress=with_bar("patient")))
    return f"{patients}, {volumes} volumes with scribbles"
