# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare markups`: points and boxes of 3D Slicer (.mrk.json) as weak labels of a data set."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import new_folder, told_failures
from wss_monai.commands.prepare.found_cases import some_names
from wss_monai.commands.prepare.json_words import json_object, values_of

HELP = "points and boxes set in 3D Slicer"
DESCRIPTION = (
    f"{__doc__} A PATTERN is a regular expression on the whole path relative to the folder, with named groups as in "
    r"`prepare folder`: --image '(?P<patient>\w+)\.nii\.gz' --markups '(?P<patient>[a-z]+)_(?P<class>\w+)\.mrk\.json'. "
    "Without a group class, points and boxes are of the class that their label, list or file is called after. Images "
    "stay where they are."
)
SHARED = [new_folder("data/POINTS")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prepare markups`."""
    add = parser.add_argument
    add("--source", required=True, metavar="DIR", help="the folder with images and .mrk.json files")
    add("--image", required=True, metavar="PATTERN", help="which files are images")
    add("--markups", required=True, metavar="PATTERN", help="which files are Markups; several may belong to an image")
    add("--labels", required=True, metavar="JSON", help='the classes: {"0": "background", "1": "LV"}')
    add("--words", metavar="JSON", help='what other names stand for: {"bg": "background", "F": "LV"}')
    add("--radius", type=float, default=0.0, metavar="MM", help="around a point, drawn too (default 0: its voxel)")
    add("--label", metavar="PATTERN", help="which files are dense labels, for evaluation")
    add("--undrawn-means-absent", action="store_true", help="what is not drawn in a slice is absent there")
    add("--slice-axis", type=int, default=2, choices=(0, 1, 2), help="axis of the slices (default 2)")
    add("--name", help="name of the data set (default: the folder's)")


def run(args: argparse.Namespace) -> int:
    """Draw the marks, and print what was drawn and what does not fit.

    Raises:
        ValueError, OSError: as of `prepare_markups`.
    """
    from wss_monai.data.releases.markups import prepare_markups

    done = prepare_markups(
        args.source,
        args.out,
        args.image,
        args.markups,
        values_of(args.labels, "--labels", "background"),
        None if args.words is None else json_object(args.words, "--words"),
        args.radius,
        args.label,
        args.slice_axis,
        args.undrawn_means_absent,
        args.name,
    )
    print(f"{args.out}: {len(done.cases)} cases, {done.points} points and {done.boxes} boxes")
    print(f"cases without markups: {some_names(done.without)}")
    if done.orphans:
        print(f"markups without an image, left out: {some_names(done.orphans)}")
    return told_failures(done.failed, f"left out of {args.out}")
