# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare promise12`: the official PROMISE12 release as a data set with a `dataset.json`."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import new_folder
from wss_monai.commands.prepare.conversion import PATIENTS, Converted, conversion

HELP = "the official PROMISE12 release"
DESCRIPTION = (
    f"{__doc__} Training and test cases are told apart by the folder or archive that they lie in: test where its name "
    "holds 'test'. Without test cases, bundles make folds of the training cases."
)
SHARED = [new_folder("data/PROMISE12"), PATIENTS]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this release."""
    text = "zip archives, or folders with CaseXX.mhd and .raw or with such archives; as many as there are"
    parser.add_argument("--source", required=True, nargs="+", metavar="PATH", help=text)


@conversion
def run(args: argparse.Namespace) -> Converted:
    """Convert the release."""
    from wss_monai.data.releases.promise12 import prepare_promise12

    done = prepare_promise12(args.source, args.out, args.patients)
    return done, f"{done.training} training and {done.test} test patients"
