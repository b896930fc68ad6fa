# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare ...`: a `dataset.json` for a public release, or for a folder of your own volumes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `prepare` with one sub-verb a release, and one for any folder."""
    parser = subparsers.add_parser("prepare", help="make a dataset.json for a release or a folder", description=__doc__)
    releases = parser.add_subparsers(dest="release", required=True, metavar="RELEASE")
    acdc = releases.add_parser(
        "acdc", help="the official ACDC release", description="Convert the official ACDC release."
    )
    acdc.add_argument(
        "--source", required=True, help="acdc.zip, a tar archive, or the folder with training/ and testing/"
    )
    acdc.add_argument("--out", required=True, help="folder to make, for example data/ACDC")
    acdc.add_argument(
        "--patients", metavar="FILE", help='JSON: a list of patients, or {"patients": [...]}; the only ones'
    )
    acdc.add_argument(
        "--scribbles",
        metavar="FOLDER",
        help="folder or archive with patientXXX_frameYY[_scribble].nii.gz (4, 255: unlabelled)",
    )
    acdc.set_defaults(run=run_acdc)
    from wss_monai.commands.prepare_brats import add_brats
    from wss_monai.commands.prepare_decathlon import add_decathlon
    from wss_monai.commands.prepare_folder import add_folder
    from wss_monai.commands.prepare_localization_cues import add_localization_cues
    from wss_monai.commands.prepare_png_slices import add_png_slices
    from wss_monai.commands.prepare_promise12 import add_promise12

    add_folder(releases)
    add_promise12(releases)
    add_decathlon(releases)
    add_brats(releases)
    add_png_slices(releases)
    add_localization_cues(releases)


def run_acdc(args: argparse.Namespace) -> int:
    """Convert ACDC and print what came of it, with a table of what was skipped or changed."""
    from wss_monai.data.acdc import prepare_acdc

    patients = None if args.patients is None else read_patients(args.patients)
    done = prepare_acdc(args.source, args.out, patients, args.scribbles)
    print_notes(done.notes)
    print(
        f"{done.path}: {done.training} training and {done.test} test patients, {done.cases} volumes, "
        f"{done.scribbles} with a scribble; {len(done.notes)} notes"
    )
    return 0


def print_notes(notes: Sequence[tuple[str, str]]) -> None:
    """Print a table of who was skipped or changed, and why."""
    width = max((len(who) for who, _ in notes), default=0)
    for who, what in notes:
        print(f"{who:<{width}}  {what}")


def read_patients(path: str) -> list[str]:
    """Read a list of patients, plain or under the key `patients` (as in benchmarks/splits).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or holds no list of names.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"--patients: no file '{path}'")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--patients: '{path}' is not a JSON file: {error}") from error
    patients = content.get("patients") if isinstance(content, dict) else content
    if not isinstance(patients, list) or not patients or not all(isinstance(item, str) for item in patients):
        raise ValueError(
            f"--patients: '{path}' must hold a list of patient names, or an object with such a list as 'patients'"
        )
    return patients
