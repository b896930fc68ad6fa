# SPDX-License-Identifier: Apache-2.0
"""Folders of PNG slices, ROOT/{train,val,test}/{T2,ADC,GT}/PATIENT_SLICE.png, as volumes of a data set of ours."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wss_monai.data.label_semantics import BACKGROUND
from wss_monai.data.leak_guard import check_no_leak
from wss_monai.data.releases.preparation import Entry, Preparation, digest_of, opened, preparation, refuse_missing, some
from wss_monai.data.simulated_tags import TAGGED, TAGS_TEXT, checked_class_name, file_word, slice_tags
from wss_monai.io.nifti_files import write_volume

__all__ = ["PARTS", "prepare_png_slices"]

PARTS = {"train": "training", "val": "validation", "test": "test"}
"""Folders of a root, and what a split file calls them."""
REFERENCE = "GT"
"""The folder with the masks."""
ORDER = ("T1", "T1c", "T2", "FLAIR", "ADC")
"""Order of modalities that nobody gave; others follow by name."""
MAX_VALUES = 254
_WANTED = re.compile(r"(^|/)(train|val|test)/[^/.][^/]*/[^/.][^/]*\.png$", re.I)
_NAME = re.compile(r"(?P<patient>.*[^_.].*)_(?P<number>\d+)\.png", re.I)
Slices = dict[int, Path]
"""Files of a patient and modality by the number of the slice."""


@dataclass(frozen=True)
class _Stack:
    """The slices of a patient, read: (columns, rows, slices) of each modality, and the grey values of the masks."""

    part: str
    numbers: list[int]
    images: dict[str, np.ndarray]
    grey: np.ndarray


def prepare_png_slices(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    spacing: Sequence[float],
    modalities: Sequence[str] | None = None,
    foreground: str = "foreground",
) -> Preparation:
    """Stack the slices of each patient and modality to a volume; write dataset.json and split.json.

    The patient is what stands in a file's name before the last "_", the number behind it orders the slices. Slices of
    modalities and masks are paired by name. Volumes have the axes (columns, rows, slices): columns run to the patient's
    left, rows to the back, slices to the head; the true pose is not in the pictures. Any grey value of a mask but 0 is
    the foreground; several become label values 1, 2 ... of one class. `train` and `val` become training cases, which
    split.json tells apart; `test` the test cases. The result appears under `out` complete or not at all.

    Args:
        source: the root, an archive of it, or the folder above it.
        out: the folder to make.
        spacing: distance of columns, rows and slices in mm.
        modalities: folders, in this order, such as MR_T1; None: all but GT, in the order T1, T1c, T2, FLAIR, ADC.
        foreground: name of the class.

    Returns:
        Counts and notes.

    Raises:
        FileExistsError: `out` is there already and not empty.
        FileNotFoundError: the source is missing.
        ValueError: not such a folder; a slice that a modality or the masks lack; sizes that differ; a patient in two
            parts; a file that is no grey picture; named each.
    """
    source = Path(source)
    refuse_missing(source, "give the folder that holds train, val and test")
    steps = [float(step) for step in spacing]
    if len(steps) != 3 or not all(0 < step < np.inf for step in steps):
        raise ValueError(f"--spacing must be three lengths in mm, of columns, rows and slices; got {list(spacing)}")
    checked_class_name(foreground, "--foreground")
    with preparation(out) as done:
        root = _root(opened(source, done.work / "source", _WANTED), source)
        names = _modalities(root, modalities)
        files = {part: _patients(root / part, [*names, REFERENCE]) for part in PARTS if (root / part).is_dir()}
        if "train" not in files:
            raise ValueError(f"'{root}' has no folder train")
        check_no_leak(**{part: list(patients) for part, patients in files.items()})
        values = _grey_values(files)
        labels = {"0": BACKGROUND, **{str(i + 1): foreground for i in range(len(values))}}
        if len(values) > 1:
            done.notes.append((REFERENCE, f"{len(values)} grey values ({some(values)}), all taken as the foreground"))
        parts = _convert(files, names, values, labels, steps, done)
        split = {PARTS[part]: sorted(patients) for part, patients in files.items()}
        (done.result / "split.json").write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
        lists = {"training": parts["train"] + parts["val"], "test": parts["test"]}
        done.finish(_description(names, labels, values, steps) | lists)
    return done


def _root(folder: Path, source: Path) -> Path:
    """Find the folder that holds train."""
    found = [path for path in (folder, *sorted(folder.glob("*"))) if (path / "train").is_dir()]
    if len(found) != 1:
        what = "no folder train" if not found else f"{len(found)} folders with train: {[p.name for p in found]}"
        raise ValueError(f"'{source}' holds {what}; give the one that holds train, val and test")
    return found[0]


def _modalities(root: Path, wanted: Sequence[str] | None) -> list[str]:
    """Give the folders of the modalities, in order; each part must have them all."""
    parts = [root / part for part in PARTS if (root / part).is_dir()]
    there = {part.name: {p.name for p in part.iterdir() if p.is_dir() and not p.name.startswith(".")} for part in parts}
    if wanted is None:
        rank = {name.lower(): i for i, name in enumerate(ORDER)}
        names = sorted(
            set().union(*there.values()) - {REFERENCE},
            key=lambda name: (rank.get(_shown(name).lower(), len(rank)), name),
        )
    else:
        names = list(wanted)
    if not names or len(set(names)) < len(names) or REFERENCE in names:
        raise ValueError(f"--modalities must name folders beside {REFERENCE}, each once; got {names}")
    for part, folders in there.items():
        if lacking := [name for name in (*names, REFERENCE) if name not in folders]:
            raise ValueError(f"'{root / part}' lacks the folders {lacking}; it has {sorted(folders)}")
    return names


def _shown(folder: str) -> str:
    """Give the name of a modality by its folder, without the MR_ of the published layout."""
    return folder.removeprefix("MR_")


def _patients(folder: Path, names: Sequence[str]) -> dict[str, dict[str, Slices]]:
    """Find the slices of a part by patient and folder; all folders must have the same ones."""
    found: dict[str, dict[str, Slices]] = {}
    for name in names:
        for file in sorted((folder / name).iterdir()):
            if file.name.startswith(".") or not file.is_file():
                continue
            match = _NAME.fullmatch(file.name)
            if match is None:
                raise ValueError(f"'{file}' is not called PATIENT_NUMBER.png; rename it, or take it away")
            slices = found.setdefault(match["patient"], {}).setdefault(name, {})
            if int(match["number"]) in slices:
                raise ValueError(f"'{file}' and '{slices[int(match['number'])].name}' are the same slice")
            slices[int(match["number"])] = file
    if not found:
        raise ValueError(f"'{folder}' holds no slice")
    for patient, by_name in sorted(found.items()):
        everywhere = {number for slices in by_name.values() for number in slices}
        for name in names:
            if lacking := sorted(everywhere - set(by_name.get(name, {}))):
                raise ValueError(
                    f"'{folder / name}' lacks {len(lacking)} of the {len(everywhere)} slices of patient {patient}: "
                    f"{some([f'{patient}_{number}' for number in lacking])}; add them, or take the others away"
                )
    return dict(sorted(found.items()))


def _read(file: Path) -> np.ndarray:
    """Read a grey picture as (columns, rows), uint8 or uint16."""
    try:
        with Image.open(file) as picture:
            if picture.format != "PNG":
                raise ValueError(f"it is {picture.format}, no PNG")
            mode, array = picture.mode, np.asarray(picture.convert("L") if picture.mode == "1" else picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"'{file}' cannot be read: {error}") from error
    if mode in ("RGB", "RGBA", "LA"):
        colours = array[..., : 1 if mode == "LA" else 3]
        if (colours != colours[..., :1]).any():
            raise ValueError(f"'{file}' is coloured; grey pictures are needed")
        array = colours[..., 0]
    if array.ndim != 2 or array.min() < 0 or array.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"'{file}' is no grey picture of 8 or 16 bits (mode {mode}, shape {array.shape})")
    return np.ascontiguousarray(array.T.astype(np.uint8 if array.max() < 256 else np.uint16))


def _grey_values(files: Mapping[str, Mapping[str, Mapping[str, Slices]]]) -> list[int]:
    """List the grey values of all masks but 0."""
    values: set[int] = set()
    for patients in files.values():
        for by_name in patients.values():
            for file in by_name[REFERENCE].values():
                values.update(np.unique(_read(file)).tolist())
    values.discard(0)
    if not values:
        raise ValueError(f"every mask under {REFERENCE} is black: there is nothing to find")
    if len(values) > MAX_VALUES:
        raise ValueError(f"the masks under {REFERENCE} hold {len(values)} grey values; they are no masks")
    return sorted(values)


def _convert(
    files: Mapping[str, Mapping[str, Mapping[str, Slices]]],
    names: Sequence[str],
    values: Sequence[int],
    labels: Mapping[str, str],
    spacing: Sequence[float],
    done: Preparation,
) -> dict[str, list[Entry]]:
    """Write the volumes of all patients; what is wrong with one is an error, since slices were paired before."""
    parts: dict[str, list[Entry]] = {part: [] for part in PARTS}
    owners: dict[str, tuple[str, str]] = {}
    for part, patients in files.items():
        for patient, by_name in patients.items():
            stack = _stack(part, by_name, names)
            other_part, other = owners.setdefault(digest_of(stack.images[names[0]]), (part, patient))
            if other_part != part:
                raise ValueError(
                    f"leak: the images of {patient} in {part} are those of {other} in {other_part}; take one away"
                )
            if other != patient:
                done.notes.append((patient, f"its images are those of {other}: write one 'patient', or take one away"))
            parts[part].append(_write(patient, stack, values, labels, spacing, done.result))
            gaps = sorted(set(range(stack.numbers[0], stack.numbers[-1] + 1)) - set(stack.numbers))
            if gaps:
                done.notes.append((patient, f"slices {some(gaps)} are missing: their neighbours lie side by side"))
            if not stack.grey.any():
                done.notes.append((patient, "its masks are black: no slice shows the foreground"))
    return parts


def _stack(part: str, by_name: Mapping[str, Slices], names: Sequence[str]) -> _Stack:
    """Read and stack the slices of a patient in the order of their numbers."""
    numbers = sorted(by_name[REFERENCE])
    size: tuple[int, ...] | None = None
    volumes = {}
    for name in (*names, REFERENCE):
        pictures = []
        for number in numbers:
            picture = _read(by_name[name][number])
            size = size or picture.shape
            if picture.shape != size:
                raise ValueError(
                    f"'{by_name[name][number]}' has {picture.shape[0]} x {picture.shape[1]} pixels, "
                    f"'{by_name[names[0]][numbers[0]]}' {size[0]} x {size[1]}; all slices of a patient have one size"
                )
            pictures.append(picture)
        volumes[name] = np.stack(pictures, axis=2)
    return _Stack(part, numbers, {name: volumes[name] for name in names}, volumes[REFERENCE])


def _write(
    patient: str,
    stack: _Stack,
    values: Sequence[int],
    labels: Mapping[str, str],
    spacing: Sequence[float],
    result: Path,
) -> Entry:
    """Write the volumes of a patient; give the entry for dataset.json."""
    label = np.where(stack.grey > 0, np.searchsorted(values, stack.grey) + 1, 0).astype(np.uint8)
    paths = []
    for name, volume in stack.images.items():
        paths.append(_save(volume, spacing, result / "images" / f"{patient}_{file_word(_shown(name))}.nii.gz"))
    return {
        "case": patient,
        "patient": patient,
        "image": paths if len(paths) > 1 else paths[0],
        "label": _save(label, spacing, result / "labels" / f"{patient}.nii.gz"),
        "weak_labels": TAGGED,
        "slice_tags": slice_tags(label, labels),
        "slices": stack.numbers,
    }


def _save(array: np.ndarray, spacing: Sequence[float], target: Path) -> str:
    """Write a volume with a nominal pose, upright in viewers; give its path in the data set."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:2, 3] = [(n - 1) / 2 * step for n, step in zip(array.shape[:2], spacing[:2], strict=True)]
    return write_volume(array, affine, target)


def _description(
    names: Sequence[str], labels: Mapping[str, str], values: Sequence[int], spacing: Sequence[float]
) -> dict[str, Any]:
    return {
        "name": "PNG slices",
        "description": f"Stacked from PNG slices: intensities as in the pictures, pose nominal. {TAGS_TEXT}.",
        "modality": {str(i): _shown(name) for i, name in enumerate(names)},
        "labels": dict(labels),
        "grey_values": {str(i + 1): value for i, value in enumerate(values)},
        "spacing_mm": list(spacing),
        "slice_axis": 2,
    }
