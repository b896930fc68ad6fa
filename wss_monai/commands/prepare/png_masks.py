# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai prepare png-masks`: photographs with masks of class indices, as Pascal VOC has them."""

from __future__ import annotations

import argparse

from wss_monai.commands.kinds import new_folder
from wss_monai.commands.prepare.conversion import Converted, conversion

HELP = "photographs with masks of class indices (Pascal VOC, COCO)"
DESCRIPTION = (
    f"{__doc__} The source holds a folder of pictures (JPEG or PNG) and one of masks NAME.png, palette or grey. Pixels "
    "of 255, where nothing is known, get the class of the nearest one that has one. A picture becomes a case of one "
    "slice with three modalities, red, green and blue. Tags are read off the masks: they simulate an annotator's."
)
SHARED = [new_folder("data/VOC")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this release."""
    add = parser.add_argument
    add("--source", required=True, help="the folder that holds pictures and masks, or an archive of it")
    add(
        "--classes", default="voc", help="voc (21), coco (81), or a file with the names, background first (%(default)s)"
    )
    add("--images", default="JPEGImages", metavar="FOLDER", help="of the pictures (%(default)s)")
    add("--masks", default="SegmentationClass", metavar="FOLDER", help="of the masks (%(default)s)")
    text = "such as ImageSets/Segmentation/train.txt: who trains, and (val.txt) who is tested (default: all train)"
    add("--lists", nargs="+", default=[], metavar="FILE", help=text)


@conversion
def run(args: argparse.Namespace) -> Converted:
    """Convert picture by picture."""
    from wss_monai.data.releases.png_masks import CLASSES, names_of_file, prepare_png_masks

    classes = CLASSES.get(args.classes) or names_of_file(args.classes)
    done = prepare_png_masks(args.source, args.out, classes, args.images, args.masks, args.lists)
    return done, f"{done.training} training and {done.test} test pictures of {len(classes)} classes"
