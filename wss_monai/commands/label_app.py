# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai label-app`: a folder that MONAI Label serves, to predict and to learn in 3D Slicer.

Bundles are copied into the folder; its `app.yaml` says what stored labels mean, and holds the settings of each bundle.
Start it with `monailabel start_server --app FOLDER --studies IMAGES`.
"""

from __future__ import annotations

import argparse

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `label-app`."""
    parser = subparsers.add_parser("label-app", help="make an app folder for MONAI Label", description=__doc__)
    add = parser.add_argument
    add(
        "--bundle", nargs="+", action="extend", required=True, metavar="FOLDER", help="bundles, such as bundles/weak_2d"
    )
    add("--out", required=True, metavar="FOLDER", help="the app's folder, to make")
    add("--settings", metavar="FILE", help="settings of the bundle, as `wss-monai plan` writes them")
    add(
        "--weights",
        metavar="FILE",
        help="the bundle's weights, model.pt of a run; without them it predicts once trained",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the folder.

    Raises:
        ValueError, OSError: as of `make_app`.
    """
    from wss_monai.label_app.folder import make_app

    names = make_app(args.out, args.bundle, args.settings, args.weights)
    print(f"{args.out}: written, with {', '.join(names)}; look at {args.out}/app.yaml")
    print(f"monailabel start_server --app {args.out} --studies IMAGES")
    return 0
