# SPDX-License-Identifier: Apache-2.0
"""The published `localization_cues.pickle` of Seed, Expand and Constrain as NIfTI index maps."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from wss_monai.data.releases.preparation import Preparation, preparation, some
from wss_monai.functional import UNLABELLED
from wss_monai.io.faults import FormatFault
from wss_monai.io.integer_pickle import read_integer_arrays
from wss_monai.io.json_files import read_text
from wss_monai.io.nifti_files import write_volume

__all__ = ["GRID", "ImageCues", "prepare_localization_cues", "read_listing", "read_localization_cues"]

GRID = (41, 41)
"""Columns and rows of the published cues."""
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Columns run to the patient's left and rows to the back, so that viewers show the map upright; no size is meant."""


@dataclass(frozen=True)
class ImageCues:
    """Cues of an image.

    Attributes:
        tags: classes of the foreground that the image shows, ascending.
        index_map: (columns, rows) uint8, class indices, 0 = background, 255 = no cue.
    """

    tags: list[int]
    index_map: np.ndarray


def read_localization_cues(
    path: str | os.PathLike[str], num_classes: int = 21, grid: tuple[int, int] = GRID
) -> dict[int, ImageCues]:
    """Read the pickle: entries ``<i>_labels``, (N,) classes from 1 up, and ``<i>_cues``, (3, M) class, row, column.

    Args:
        path: `localization_cues.pickle`, packed with gzip or not.
        num_classes: classes, background included.
        grid: columns and rows of the cues.

    Returns:
        Cues by the index of the image.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds anything but integer arrays (then nothing of it is run, see
            :func:`~wss_monai.io.integer_pickle.read_integer_arrays`), or cues that are none; names the image.
    """
    if not 2 <= num_classes <= UNLABELLED:
        raise ValueError(f"num_classes must be between 2 and {UNLABELLED}, got {num_classes}")
    if len(grid) != 2 or min(grid) < 1:
        raise ValueError(f"grid must be two numbers from 1 up, columns and rows, got {list(grid)}")
    arrays = read_integer_arrays(path)
    found: dict[int, dict[str, np.ndarray]] = {}
    for key, value in arrays.items():
        match = re.fullmatch(r"(0|[1-9][0-9]{0,17})_(labels|cues)", key)
        if match is None:
            raise ValueError(f"'{path}': the entry '{key[:60]}' is neither '<index>_labels' nor '<index>_cues'")
        found.setdefault(int(match[1]), {})[match[2]] = value
    if not found:
        raise ValueError(f"'{path}' holds no cues")
    try:
        return {index: _image_cues(index, parts, num_classes, grid) for index, parts in sorted(found.items())}
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from error


def _image_cues(index: int, parts: Mapping[str, np.ndarray], num_classes: int, grid: tuple[int, int]) -> ImageCues:
    """Check the cues of an image and draw them."""
    for part in ("labels", "cues"):
        if part not in parts:
            raise ValueError(f"image {index} lacks its entry '{index}_{part}'")
    labels, cues = parts["labels"], parts["cues"]
    if labels.ndim != 1:
        raise ValueError(f"'{index}_labels' must have one axis, got shape {labels.shape}")
    if cues.ndim != 2 or len(cues) != 3:
        raise ValueError(f"'{index}_cues' must have the rows class, row and column (3, M), got shape {cues.shape}")
    tags = sorted({int(label) for label in labels})
    strange = [tag for tag in tags if not 1 <= tag < num_classes]
    if strange:
        raise ValueError(f"'{index}_labels' holds the classes {strange}; they must be from 1 to {num_classes - 1}")
    classes, rows, columns = cues
    untagged = sorted({int(c) for c in classes} - {0, *tags})
    if untagged:
        raise ValueError(f"'{index}_cues' has cues of the classes {untagged}, which are not in '{index}_labels' {tags}")
    for name, values, size in (("row", rows, grid[1]), ("column", columns, grid[0])):
        outside = values[(values < 0) | (values >= size)]
        if len(outside):
            raise ValueError(f"'{index}_cues' has a cue in {name} {outside[0]} of {size}; choose another --grid")
    index_map = np.full(grid, UNLABELLED, dtype=np.uint8)
    index_map[columns, rows] = classes
    clash = index_map[columns, rows] != classes
    if clash.any():
        at = int(np.argmax(clash))
        raise ValueError(f"'{index}_cues' gives row {rows[at]}, column {columns[at]} to two classes")
    return ImageCues(tags, index_map)


def read_listing(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read a list of images: a file name a line and, behind it, the image's index in the pickle.

    The index is what counts: a list in another order pairs the same images with the same cues. Where no line has one,
    it is the line's number, from 0.

    Returns:
        The images' names, without folder and ending, by index.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is neither, only some have an index, or a name or an index stands there twice.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"--list: no file '{path}'")
    try:
        lines = read_text(path).splitlines()
    except FormatFault as fault:
        raise ValueError(f"--list: '{path}' is {fault.problem}") from fault
    words = {number: line.split() for number, line in enumerate(lines) if line.strip()}
    counts = {len(found) for found in words.values()}
    if len(counts) != 1 or not counts <= {1, 2}:
        raise ValueError(
            f"--list: '{path}' must have in each line the name of an image, or in each a name and an index"
        )
    names: dict[int, str] = {}
    for number, (name, *rest) in words.items():
        where = f"--list: '{path}', line {number + 1}"
        if rest and re.fullmatch(r"[0-9]{1,18}", rest[0]) is None:
            raise ValueError(f"{where}: '{rest[0]}' is no index")
        stem = PurePosixPath(name).stem
        if re.fullmatch(r"\w[\w.-]*", stem) is None:
            raise ValueError(f"{where}: '{name}' is no name of an image file")
        index = int(rest[0]) if rest else number
        if index in names or stem in names.values():
            raise ValueError(f"{where}: image '{stem}' or index {index} stands there twice")
        names[index] = stem
    return names


def prepare_localization_cues(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    listing: str | os.PathLike[str] | None = None,
    num_classes: int = 21,
    grid: tuple[int, int] = GRID,
) -> Preparation:
    """Write a NIfTI index map an image, and `cues.json` with their names and tags.

    A map has the shape (columns, rows, 1): its first axis runs along the image's rows, as in MONAI's readers of
    pictures. 0 is background, 255 no cue. A point of the published 41 x 41 grid lies on every eighth pixel of the image
    resized to 321 x 321.

    Args:
        source: `localization_cues.pickle`, packed with gzip or not.
        out: folder to make, with `cues/` and `cues.json`.
        listing: see :func:`read_listing`; None: maps are named by index.
        num_classes: classes, background included: 21 of VOC, 81 of COCO.
        grid: columns and rows of the cues.

    Returns:
        What was made; its ``cases`` are the maps.

    Raises:
        FileExistsError: ``out`` is there already and not empty.
        FileNotFoundError, ValueError: as of the two readers, or no cue belongs to an image of the list.
    """
    with preparation(out) as done:
        names = None if listing is None else read_listing(listing)
        cues = read_localization_cues(source, num_classes, grid)
        if names is None:
            names = {index: str(index) for index in cues}
        listed = {index: name for index, name in names.items() if index in cues}
        if not listed:
            raise ValueError(f"no index of the list '{listing}' has cues in '{source}'; is it another data set's?")
        _note(done, str(listing), "left out, no cues", [name for index, name in names.items() if index not in cues])
        _note(done, str(source), "left out, not in the list", [str(index) for index in cues if index not in names])
        images = {}
        for index, name in listed.items():
            path = f"cues/{name}.nii.gz"
            write_volume(cues[index].index_map[..., None], AFFINE, done.result / path)
            images[name] = {"index": index, "cues": path, "tags": cues[index].tags}
            lacking = sorted(set(cues[index].tags) - {int(value) for value in np.unique(cues[index].index_map)})
            if lacking:
                done.notes.append((name, f"tags without a cue: {lacking}"))
        description = {"grid": list(grid), "num_classes": num_classes, "no_cue": UNLABELLED, "images": images}
        (done.result / "cues.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        done.cases = len(images)
        os.replace(done.result, done.path)
    return done


def _note(done: Preparation, who: str, what: str, names: list[str]) -> None:
    """Note what is left out, in one line."""
    if names:
        done.notes.append((who, f"{what}: {len(names)} ({some(names)})"))
