# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare folder`: write the `dataset.json` of a folder whose file names say what they are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wss_monai.commands.prepare.conversion import print_notes
from wss_monai.commands.prepare.found_cases import print_labels, some_names
from wss_monai.commands.prepare.json_words import json_object, values_of

if TYPE_CHECKING:
    from wss_monai.data.releases.folder import FolderCases

HELP = "your own volumes, by a naming pattern"
DESCRIPTION = (
    f"{__doc__} A PATTERN is a regular expression on the whole path relative to the folder; its named groups say what "
    r"a file is: 'images/(?P<patient>p\d+)_(?P<phase>ED|ES)\.nii\.gz'. patient is required; phase, group, case, "
    "modality and others tell files apart. A folder with a DICOM series counts as a file."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prepare folder`."""
    add = parser.add_argument
    add("--source", required=True, metavar="DIR", help="the folder; dataset.json is written into it")
    add("--image", required=True, metavar="PATTERN", help="which files are images")
    add("--label", metavar="PATTERN", help="which are dense labels")
    add("--weak-label", metavar="PATTERN", help="which are weak labels: scribbles, points, boxes ...")
    text = 'values of the dense labels: {"0": "background", "1": "LV"}, a .json file or a label file of ITK-SNAP'
    add("--labels", required=True, metavar="JSON", help=text)
    add("--segments", metavar="JSON", help='segments of dense .seg.nrrd files: {"Left ventricle": "LV"}')
    text = 'values of the weak labels: {"0": "unlabelled", "1": "background" ...}, or a label file of ITK-SNAP'
    add("--weak-values", metavar="JSON", help=text)
    add("--weak-segments", metavar="JSON", help="segments of weak .seg.nrrd files")
    add("--weak-kind", default="scribble", metavar="WORD", help="scribble (default), points, box, slices")
    add("--undrawn-means-absent", action="store_true", help="what is not drawn in a slice is absent there")
    add("--modalities", nargs="+", metavar="NAME", help="which, in this order (default: all, by name)")
    text = "resample modalities on another grid than the case's first one, into the folder 'resampled'"
    add("--resample", action="store_true", help=text)
    add("--slice-axis", type=int, default=2, choices=(0, 1, 2), help="axis of the slices (default 2)")
    add("--name", help="name of the data set (default: the folder's)")
    add("--dry-run", action="store_true", help="print what was found and write nothing")
    add("--overwrite", action="store_true", help="replace a dataset.json that is there")


def run(args: argparse.Namespace) -> int:
    """Find the cases, print what was found and what was not, and write the dataset.json.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a pattern or a JSON argument does not fit; there is a dataset.json already; modalities that
            --resample shall bring together lie in different frames.
    """
    from wss_monai.data.releases.folder import find_cases
    from wss_monai.data.releases.folder_grids import cases_on_several_grids, resample_cases
    from wss_monai.data.schema import parse_dataset, write_dataset

    source = Path(args.source)
    target = source / "dataset.json"
    if target.exists() and not (args.overwrite or args.dry_run):
        raise ValueError(f"'{target}' exists already; pass --overwrite to replace it, or --dry-run to look only")
    header = _header(args, source)
    found = find_cases(source, args.image, args.label, args.weak_label, args.modalities)
    if found.modalities:
        header["modality"] = {str(number): name for number, name in enumerate(found.modalities)}
    if args.weak_label is not None and "weak_label" not in header:
        header["weak_label"] = _weak_section(args, found)
    content = header | {"training": found.cases}
    parse_dataset(content, target)
    differ = cases_on_several_grids(source, found.cases)
    if not args.dry_run:
        notes = resample_cases(source, found.cases, found.modalities, differ) if args.resample else []
        write_dataset(source, content)
        print_notes(notes)
    _print(found)
    if differ and (args.dry_run or not args.resample):
        how = "--resample brings them to that of the first" if not args.resample else "they would be resampled"
        print(f"modalities on several grids, which training refuses: {some_names(differ)}; {how}")
    print(f"{target}: {'would be written' if args.dry_run else 'written'}, {len(found.cases)} cases")
    if args.dry_run and found.cases:
        print("first case: " + json.dumps(found.cases[0], ensure_ascii=False))
    return 0


def _header(args: argparse.Namespace, source: Path) -> dict[str, Any]:
    """Make the description without its cases."""
    header: dict[str, Any] = {
        "name": args.name or source.resolve().name,
        "labels": values_of(args.labels, "--labels", "background"),
    }
    if args.segments is not None:
        header["segments"] = json_object(args.segments, "--segments")
    return header | {"slice_axis": args.slice_axis}


def _weak_section(args: argparse.Namespace, found: FolderCases) -> dict[str, Any]:
    section: dict[str, Any] = {"kind": args.weak_kind}
    files = [case["weak_label"] for case in found.cases if "weak_label" in case]
    by_value = [file for file in files if not file.lower().endswith(".seg.nrrd")]
    if args.weak_values is not None:
        section["values"] = values_of(args.weak_values, "--weak-values", "unlabelled")
    elif by_value:
        raise ValueError(
            f"--weak-values is needed for '{by_value[0]}': what its values mean, for example "
            '\'{"0": "unlabelled", "1": "background", "2": "LV"}\' with your classes'
        )
    if args.weak_segments is not None or args.weak_values is None:
        section["segments"] = json_object(args.weak_segments or "{}", "--weak-segments")
    return section | {"undrawn_means_absent": args.undrawn_means_absent}


def _print(found: FolderCases) -> None:
    """Print what was found, and what not."""
    patients = {case["patient"] for case in found.cases}
    print(f"images: {len(found.cases)} cases of {len(patients)} patients", end="")
    print(f", modalities {found.modalities}" if found.modalities else "")
    print_labels(len(found.cases), found.without, found.orphans)
    for case, lacking in found.incomplete.items():
        print(f"left out: case '{case}' lacks the modalities {lacking}")
    if found.unmatched:
        print(f"no pattern matches: {some_names(found.unmatched)}")
