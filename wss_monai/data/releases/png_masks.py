# SPDX-License-Identifier: Apache-2.0
"""Photographs with masks of class indices, as Pascal VOC and COCO have them, as one-slice volumes of a data set."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from wss_monai.data.label_semantics import BACKGROUND
from wss_monai.data.releases.preparation import Entry, Preparation, opened, preparation, refuse_missing, some
from wss_monai.data.simulated_tags import TAGGED, TAGS_TEXT, checked_class_name
from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.generators import present_classes
from wss_monai.io.nifti_files import write_volume

__all__ = ["CLASSES", "prepare_png_masks"]

VOC = """aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,pottedplant,
sheep,sofa,train,tvmonitor"""
COCO = """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,
tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,
tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,
hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,
keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,
hair drier,toothbrush"""
CLASSES = {
    kind: [BACKGROUND, *(name.strip() for name in text.split(","))] for kind, text in (("voc", VOC), ("coco", COCO))
}
"""Names of the 21 classes of Pascal VOC and the 81 of COCO, in the order of the indices in masks."""
PICTURES = (".jpg", ".jpeg", ".png")
CHANNELS = ("red", "green", "blue")
LISTS = {"train": "training", "trainval": "training", "train_aug": "training", "val": "test", "test": "test"}
"""Name of a list of pictures -> the part of the data set that they become."""
MOST = 254
_WANTED = re.compile(r"\.(jpe?g|png|txt)$", re.I)


def prepare_png_masks(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    classes: Sequence[str],
    images: str = "JPEGImages",
    masks: str = "SegmentationClass",
    lists: Sequence[str] = (),
) -> Preparation:
    """Make a case of one slice of each picture that has a mask; write dataset.json.

    A mask holds class indices as palette or grey values. Dense labels know every voxel here: pixels of 255, the rims
    that VOC leaves out, get the class of the nearest pixel that has one, and so count in scores. The three colours
    become three modalities, in 0..255. Axes are (columns, rows, 1), a pixel is 1 mm; columns run to the left, rows to
    the back, so that viewers show the picture upright. Tags say which classes a picture shows, read off its mask. The
    result appears under `out` complete or not at all.

    Args:
        source: the root, such as VOC2012, or an archive of it.
        out: the folder to make.
        classes: names by index, background first; see `CLASSES`.
        images: folder of the pictures (JPEG or PNG), relative to the root.
        masks: folder of the masks (PNG), relative to the root.
        lists: text files with a name a line, relative to the root; the pictures of one called train, trainval or
            train_aug train, those of val and test are test cases. None given: all train.

    Returns:
        Counts and notes; a picture that cannot be converted is skipped.

    Raises:
        FileExistsError: `out` is there already and not empty.
        FileNotFoundError: the source, a folder or a list is missing.
        ValueError: class names that cannot be; a list with another name, a picture in two parts.
    """
    source = Path(source)
    refuse_missing(source, "give the folder that holds the pictures and the masks")
    names = [str(name) for name in classes]
    if len(names) < 2 or names[0] != BACKGROUND or len(set(names)) < len(names) or len(names) > MOST:
        raise ValueError(f"--classes must be 2 to {MOST} different names, '{BACKGROUND}' first; got {names[:5]}")
    for name in names[1:]:
        checked_class_name(name, "--classes")
    with preparation(out) as done:
        root = _root(opened(source, done.work / "source", _WANTED), images, masks)
        parts = _parts(root, root / masks, lists)
        pictures: dict[str, list[Path]] = {}
        for file in sorted((root / images).iterdir()):
            if file.suffix.lower() in PICTURES:
                pictures.setdefault(file.stem, []).append(file)

        def one(name: str) -> list[Entry]:
            return [_convert(name, pictures, root / masks / f"{name}.png", names, done)]

        entries = done.convert(parts, one)
        values = {str(i): name for i, name in enumerate(names)}
        description = {
            "name": root.name,
            "description": f"Photographs: a case a picture, a modality a colour, a pixel called 1 mm. {TAGS_TEXT}.",
            "modality": {str(i): colour for i, colour in enumerate(CHANNELS)},
            "labels": values,
            "slice_axis": 2,
        }
        done.finish(description | entries)
    return done


def _root(folder: Path, images: str, masks: str) -> Path:
    """Find the folder that holds both kinds of files, itself or up to two folders down."""
    tried = [folder, *sorted(folder.glob("*")), *sorted(folder.glob("*/*"))]
    for root in tried:
        if (root / images).is_dir() and (root / masks).is_dir():
            return root
    raise FileNotFoundError(
        f"'{folder}' holds no folders '{images}' and '{masks}' side by side; name them by --images and --masks"
    )


def _parts(root: Path, masks: Path, lists: Sequence[str]) -> dict[str, str]:
    """Name of each picture -> its part."""
    if not lists:
        found = {file.stem: "training" for file in sorted(masks.glob("*.png"))}
        if not found:
            raise ValueError(f"'{masks}' holds no mask NAME.png")
        return found
    parts: dict[str, str] = {}
    for text in lists:
        file = root / text
        refuse_missing(file, "give --lists relative to the root", "list")
        if file.stem not in LISTS:
            raise ValueError(f"--lists: '{text}' must be called one of {', '.join(f'{name}.txt' for name in LISTS)}")
        for name in (line.split()[0] for line in _text(file, "--lists").splitlines() if line.strip()):
            if parts.setdefault(Path(name).stem, LISTS[file.stem]) != LISTS[file.stem]:
                raise ValueError(
                    f"leak: '{name}' is in lists of training and of test; take it out of one of {list(lists)}"
                )
    if not parts:
        raise ValueError(f"--lists: no name stands in {list(lists)}; each holds a name a line")
    return parts


def _convert(
    name: str, pictures: Mapping[str, Sequence[Path]], mask: Path, names: Sequence[str], done: Preparation
) -> dict[str, Any]:
    """Write the volumes of a picture; give its entry."""
    if name not in pictures:
        raise ValueError("it has no picture")
    if len(pictures[name]) > 1:
        raise ValueError(f"it has several pictures: {some([file.name for file in pictures[name]])}")
    if not mask.is_file():
        raise ValueError(f"it has no mask {mask.name}")
    index = _read(mask, "mask")
    colours = _read(pictures[name][0], "picture")
    if index.shape != colours.shape[:2]:
        raise ValueError(f"its mask has {index.shape} columns and rows, its picture {colours.shape[:2]}")
    if wrong := sorted(set(np.unique(index).tolist()) - set(range(len(names))) - {UNLABELLED}):
        raise ValueError(f"its mask holds the values {some(wrong)}, but there are {len(names)} classes (--classes)")
    done.claim({name: colours})
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:2, 3] = [(n - 1) / 2 for n in index.shape]
    files = [
        write_volume(colours[..., c : c + 1], affine, done.result / "images" / f"{name}_{colour}.nii.gz")
        for c, colour in enumerate(CHANNELS)
    ]
    tags = present_classes(index[..., None], len(names), 2).tolist()
    label = _filled(index)[..., None]
    file = write_volume(label, affine, done.result / "labels" / f"{name}.nii.gz")
    return {"case": name, "patient": name, "image": files, "label": file, "weak_labels": TAGGED, "slice_tags": tags}


def _filled(index: np.ndarray) -> np.ndarray:
    """Give unknown pixels the class of the nearest known one."""
    unknown = index == UNLABELLED
    if unknown.all():
        raise ValueError("its mask is 255 throughout")
    if not unknown.any():
        return index
    nearest = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
    filled: np.ndarray = index[tuple(nearest)]
    return filled


def _read(file: Path, kind: str) -> np.ndarray:
    """Read a mask as (columns, rows) of its own values, or a picture as (columns, rows, 3), uint8."""
    try:
        with Image.open(file) as picture:
            if kind == "mask" and picture.mode not in ("P", "L", "1", "I", "I;16"):
                raise ValueError(
                    f"a mask has class indices as palette or grey values, this one has colours ({picture.mode})"
                )
            array = np.asarray(picture if kind == "mask" else picture.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"'{file.name}' cannot be read: {error}") from error
    if array.max() > np.iinfo(np.uint8).max:
        raise ValueError(f"'{file.name}' holds values above 255")
    return np.ascontiguousarray(array.astype(np.uint8).swapaxes(0, 1))


def names_of_file(path: str | os.PathLike[str]) -> list[str]:
    """Read names of classes, a JSON list or a name a line.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no text, JSON that is no list.
    """
    file = Path(path)
    refuse_missing(file, "give voc, coco or a file with a name a line", "--classes")
    text = _text(file, "--classes")
    if file.suffix.lower() != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--classes: '{file}' is not JSON: {error}") from error
    if not isinstance(found, list):
        raise ValueError(f"--classes: '{file}' must hold a list of names")
    return [str(name) for name in found]


def _text(file: Path, option: str) -> str:
    """Read a text file that an option names."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{option}: '{file}' is no text file in UTF-8: {error}") from error
