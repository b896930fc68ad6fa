# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare bids`: the `dataset.json` of a data set in the Brain Imaging Data Structure."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wss_monai.commands.kinds import new_folder
from wss_monai.commands.prepare.found_cases import print_labels, some_names
from wss_monai.commands.prepare.json_words import values_of

if TYPE_CHECKING:
    from wss_monai.data.releases.bids import BidsCases

HELP = "a BIDS data set and its derivatives"
DESCRIPTION = (
    f"{__doc__} Images are those of one suffix (T1w), or of several as channels; a subject is a patient, whatever the "
    "sessions. Labels are *_dseg.nii.gz of a derivative, such as derivatives/manual. Nothing is copied or changed: the "
    "new folder holds dataset.json alone."
)
SHARED = [new_folder("data/BIDS")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prepare bids`."""
    add = parser.add_argument
    add("--source", required=True, metavar="DIR", help="the folder with the sub-* folders")
    add("--suffix", nargs="+", default=[], metavar="SUFFIX", help="of the images: T1w; several: a channel each")
    add("--entity", nargs="+", default=[], metavar="KEY=LABEL", help="that images must have: acq=highres run=1")
    add("--label", metavar="DIR", help="derivative with dense labels, relative to the source")
    add("--weak-label", metavar="DIR", help="derivative with weak labels")
    add("--label-suffix", default="dseg", metavar="SUFFIX", help="of both (default: %(default)s)")
    add("--label-entity", nargs="+", default=[], metavar="KEY=LABEL", help="that labels must have: desc=manual")
    add("--labels", metavar="JSON", help="values of the dense labels (default: the derivative's dseg.tsv)")
    text = "values of the weak labels (default: its dseg.tsv, with 0 unlabelled)"
    add("--weak-values", metavar="JSON", help=text)
    add("--weak-kind", default="scribble", metavar="WORD", help="scribble (default), points, box, slices")
    add("--undrawn-means-absent", action="store_true", help="what is not drawn in a slice is absent there")
    add("--group", metavar="COLUMN", help="of participants.tsv: the patients' group, by which splits are stratified")
    add("--slice-axis", type=int, default=2, choices=(0, 1, 2), help="axis of the slices (default 2)")
    add("--name", help="name of the data set (default: the folder's)")


def run(args: argparse.Namespace) -> int:
    """Find the cases, write the dataset.json, and print what was found and what was not.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: as of `find_bids`; --out holds files; no one says what labels
            mean.
    """
    from wss_monai.data.releases.bids import find_bids, seen_from
    from wss_monai.data.schema import write_dataset
    from wss_monai.io.whole_folder import refuse_taken, whole_folder

    source, out = Path(args.source), Path(args.out)
    refuse_taken(out)
    found = find_bids(
        source,
        args.suffix,
        args.label,
        args.weak_label,
        args.label_suffix,
        _pairs(args.entity, "--entity"),
        _pairs(args.label_entity, "--label-entity"),
        args.group,
    )
    content = _header(args, source)
    if len(found.suffixes) > 1:
        content["modality"] = {str(number): suffix for number, suffix in enumerate(found.suffixes)}
    cases, outside = seen_from(found.cases, out)
    if outside:
        content["files_outside"] = True
    with whole_folder(out) as work:
        write_dataset(work, content | {"training": cases})
    _print(found)
    print(f"{out / 'dataset.json'}: written, {len(cases)} cases")
    return 0


def _header(args: argparse.Namespace, source: Path) -> dict[str, Any]:
    """Make the description without its cases.

    Raises:
        ValueError: nothing says what the values of the labels mean.
    """
    from wss_monai.data.releases.bids import label_table

    def table(folder: str | None) -> dict[str, str] | None:
        return None if folder is None else label_table(source / folder, args.label_suffix)

    labels = values_of(args.labels, "--labels", "background") if args.labels else table(args.label or args.weak_label)
    if labels is None:
        raise ValueError('--labels is needed, since there is no dseg.tsv: \'{"0": "background", "1": "hippocampus"}\'')
    content: dict[str, Any] = {"name": args.name or source.resolve().name, "labels": labels}
    content["slice_axis"] = args.slice_axis
    if args.weak_label is not None:
        if args.weak_values is not None:
            values = values_of(args.weak_values, "--weak-values", "unlabelled")
        elif (values := table(args.weak_label)) is not None:
            values = values | {"0": "unlabelled"}
        else:
            raise ValueError(
                "--weak-values is needed, since the derivative has no dseg.tsv: "
                '\'{"0": "unlabelled", "1": "background", "2": "hippocampus"}\''
            )
        content["weak_label"] = {
            "kind": args.weak_kind,
            "values": values,
            "undrawn_means_absent": args.undrawn_means_absent,
        }
    return content


def _pairs(words: Sequence[str], name: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if wrong := [key + equals + label for key, equals, label in pairs if not (key and label)]:
        raise ValueError(f"{name} must be KEY=LABEL, such as run=1; got {wrong}")
    return {key: label for key, _, label in pairs}


def _print(found: BidsCases) -> None:
    """Print what was found, and what not."""
    patients = {case["patient"] for case in found.cases}
    print(f"images ({', '.join(found.suffixes)}): {len(found.cases)} cases of {len(patients)} subjects")
    print_labels(len(found.cases), found.without, found.orphans)
    for case, lacking in found.incomplete.items():
        print(f"left out: '{case}' lacks {lacking}")
    if found.ungrouped:
        print(f"subjects without a group: {some_names(found.ungrouped)}")
    if found.without_images:
        print(f"participants without an image: {some_names(found.without_images)}")
