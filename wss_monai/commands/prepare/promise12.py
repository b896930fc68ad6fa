# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare promise12`: the official PROMISE12 release as a data set with a `dataset.json`."""

from __future__ import annotations

import argparse

from wss_monai.commands.prepare.notes import print_notes, read_patients

__all__ = ["add_promise12", "run"]


def add_promise12(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-verb `promise12`."""
    parser = subparsers.add_parser(
        "promise12",
        help="the official PROMISE12 release",
        description=f"{__doc__} Training and test cases are told apart by the folder or archive that they lie in: test "
        "where its name holds 'test'. Without test cases, bundles make folds of the training cases.",
    )
    parser.add_argument(
        "--source",
        required=True,
        nargs="+",
        metavar="PATH",
        help="zip archives, or folders with CaseXX.mhd and .raw or with such archives; as many as there are",
    )
    parser.add_argument("--out", required=True, help="folder to make, for example data/PROMISE12")
    parser.add_argument(
        "--patients", metavar="FILE", help='JSON: a list of patients, or {"patients": [...]}; the only ones'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert the release and print what came of it, with a table of what was skipped or is unusual."""
    from wss_monai.data.releases.promise12 import prepare_promise12

    patients = None if args.patients is None else read_patients(args.patients)
    done = prepare_promise12(args.source, args.out, patients)
    print_notes(done.notes)
    print(f"{done.path}: {done.training} training and {done.test} test patients; {len(done.notes)} notes")
    return 0
