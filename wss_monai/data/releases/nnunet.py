# SPDX-License-Identifier: Apache-2.0
"""A raw data set of nnU-Net v2 (https://github.com/MIC-DKFZ/nnUNet), described where it is: no volume is copied."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wss_monai.data.releases.preparation import Entry, refuse_missing, some
from wss_monai.data.schema import UNLABELLED_NAME, parse_dataset, write_dataset
from wss_monai.io.json_files import read_json
from wss_monai.io.volumes import SUFFIXES

__all__ = ["NnunetCases", "prepare_nnunet"]

IGNORE = "ignore"
"""Name of the label of voxels that nnU-Net's loss leaves out."""
Files = tuple[dict[int, Path], "Path | None"]
"""Image of each channel, and the label map."""
Cases = dict[str, Files]


@dataclass
class NnunetCases:
    """What was found.

    Attributes:
        path: the new folder with our `dataset.json`.
        content: what the file holds.
        notes: (case, what is unusual).
    """

    path: Path
    content: dict[str, Any] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)


def prepare_nnunet(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    patient: str | None = None,
    weak_kind: str = "scribble",
    slice_axis: int = 2,
) -> NnunetCases:
    """Write a `dataset.json` of this package for a raw data set of nnU-Net, into a folder of its own.

    The volumes stay where they are, and nnU-Net's own `dataset.json` is only read. The channels become modalities. With
    an ignore label, the label maps are weak labels in which it means "unlabelled"; without one they are dense labels.
    What lies in imagesTs are test cases, with the masks of labelsTs as dense labels where there are any.

    Args:
        source: folder DatasetXXX_NAME of nnUNet_raw.
        out: the folder to make.
        patient: regular expression that matches the whole name of a case; its group ``patient`` is who was scanned.
            None: every case is a patient of its own.
        weak_kind: kind of the weak labels where there is an ignore label.
        slice_axis: axis of the slices.

    Raises:
        FileNotFoundError: no such folder, no `dataset.json` in it, or a channel of a case is missing.
        FileExistsError: ``out`` holds a `dataset.json` already.
        ValueError: what nnU-Net says cannot be said here (regions, pictures), or a pattern does not fit.
    """
    source, out = Path(source), Path(out)
    refuse_missing(source, "give a folder DatasetXXX_NAME of nnUNet_raw")
    file = source / "dataset.json"
    refuse_missing(file, "a raw data set of nnU-Net has one")
    if (out / "dataset.json").exists():
        raise FileExistsError(f"'{out / 'dataset.json'}' exists already; choose a new folder for --out")
    raw = read_json(file)
    classes, ignored = _labels(raw, file)
    channels = _channels(raw, file)
    ending = str(raw.get("file_ending", ".nii.gz"))
    if not ending.lower().endswith(SUFFIXES):
        raise ValueError(f"'{file}': file_ending '{ending}' is not read here; known are {', '.join(SUFFIXES)}")
    found = NnunetCases(out)
    who = _patients(patient)
    training = _listed(raw, source) if "dataset" in raw else _in_folder(source, "Tr", ending)
    if not training:
        raise ValueError(f"'{source}' has no training case: nothing in imagesTr is called CASE_0000{ending}")
    parts = {"training": training, "test": _in_folder(source, "Ts", ending)}
    content: dict[str, Any] = {
        "name": str(raw.get("name") or re.sub(r"^Dataset\d+_", "", source.resolve().name)),
        "labels": {str(value): name for value, name in sorted(classes.items())},
        "modality": {str(number): name for number, name in enumerate(channels)},
        "slice_axis": slice_axis,
        "files_outside": True,
    }
    if ignored is not None:
        values = {**content["labels"], str(ignored): UNLABELLED_NAME}
        content["weak_label"] = {"kind": weak_kind, "values": values, "undrawn_means_absent": False}
    for part, cases in parts.items():
        role = "weak_label" if ignored is not None and part == "training" else "label"
        content[part] = [_entry(name, files, role, len(channels), who, out, found) for name, files in cases.items()]
    if not content["test"]:
        del content["test"]
    if len(training) != raw.get("numTraining", len(training)):
        found.notes.append((file.name, f"says numTraining {raw['numTraining']}, but there are {len(training)}"))
    parse_dataset(content, out / "dataset.json")
    write_dataset(out, content)
    found.content = content
    return found


def _labels(raw: Any, file: Path) -> tuple[dict[int, str], int | None]:
    """Classes by value, and the value of the ignore label."""
    labels = raw.get("labels") if isinstance(raw, dict) else None
    if not isinstance(labels, dict) or "background" not in labels:
        old = isinstance(labels, dict) and any(str(value) == "background" for value in labels.values())
        raise ValueError(
            f"'{file}' is no dataset.json of nnU-Net v2, whose 'labels' are {{\"background\": 0, \"LV\": 1}}"
            + ("; this one is of the Decathlon or nnU-Net v1: `prepare decathlon` reads it" if old else "")
        )
    regions = {name: value for name, value in labels.items() if isinstance(value, list) and len(value) > 1}
    if regions:
        name, value = next(iter(regions.items()))
        raise ValueError(
            f"'{file}' has regions: '{name}' is the values {value} together. Classes exclude each other here: describe "
            "the same files with `prepare folder`, a class for each value, such as "
            f"""--labels '{{"0": "background", "{value[0]}": "..."}}'"""
        )
    found: dict[int, str] = {}
    for name, value in labels.items():
        number = value[0] if isinstance(value, list) and value else value
        if not isinstance(number, int) or isinstance(number, bool) or number in found:
            raise ValueError(f"'{file}': the label '{name}' must have a whole number of its own, got {value!r}")
        found[number] = name
    ignored = next((value for value, name in found.items() if name == IGNORE), None)
    return {value: name for value, name in found.items() if name != IGNORE}, ignored


def _channels(raw: Mapping[str, Any], file: Path) -> list[str]:
    names = raw.get("channel_names", raw.get("modality"))
    if not isinstance(names, dict) or sorted(names) != sorted(str(number) for number in range(len(names))) or not names:
        raise ValueError(f'\'{file}\': channel_names must be such as {{"0": "MRI"}}, numbered from 0; got {names!r}')
    return [str(names[str(number)]) for number in range(len(names))]


def _in_folder(source: Path, part: str, ending: str) -> Cases:
    """Cases of a part: channel -> image, and the label map."""
    pattern = re.compile(rf"(.+)_(\d{{4}}){re.escape(ending)}")
    found: Cases = {}
    folder = source / f"images{part}"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (match := pattern.fullmatch(path.name)) and not path.name.startswith("."):
            label = source / f"labels{part}" / f"{match[1]}{ending}"
            images, _ = found.setdefault(match[1], ({}, label if label.is_file() else None))
            images[int(match[2])] = path
    return found


def _listed(raw: Mapping[str, Any], source: Path) -> Cases:
    """Cases that nnU-Net's file lists itself, with paths of their own."""
    found: Cases = {}
    for name, files in raw["dataset"].items():
        paths = [source / os.path.expandvars(str(path)) for path in files["images"]]
        found[str(name)] = (dict(enumerate(paths)), source / os.path.expandvars(str(files["label"])))
    return found


def _patients(pattern: str | None) -> re.Pattern[str]:
    try:
        compiled = re.compile(r"(?P<patient>.+)" if pattern is None else pattern)
    except re.error as error:
        raise ValueError(f"--patient: '{pattern}' is not a regular expression: {error}") from error
    if "patient" not in compiled.groupindex:
        raise ValueError(rf"--patient: '{pattern}' has no group named patient, as '(?P<patient>p\d+)_.*' has")
    return compiled


def _entry(
    name: str,
    files: Files,
    role: str,
    channels: int,
    who: re.Pattern[str],
    out: Path,
    found: NnunetCases,
) -> Entry:
    images, label = files
    if lacking := [number for number in range(channels) if number not in images]:
        raise FileNotFoundError(f"case '{name}' lacks the channels {some([f'_{number:04d}' for number in lacking])}")
    if extra := sorted(number for number in images if number >= channels):
        found.notes.append((name, f"channels {extra} are not in channel_names; left out"))
    match = who.fullmatch(name)
    if match is None or not match["patient"]:
        raise ValueError(f"--patient: '{who.pattern}' does not match the whole name of the case '{name}'")
    paths = [_seen_from(images[number], out) for number in range(channels)]
    entry: Entry = {"case": name, "patient": match["patient"], "image": paths[0] if channels == 1 else paths}
    if label is not None:
        entry[role] = _seen_from(label, out)
    elif role == "weak_label" or "labelsTr" in str(label):
        found.notes.append((name, "has no label map; kept as an image without labels"))
    return entry


def _seen_from(path: Path, folder: Path) -> str:
    """A path relative to a folder, or absolute where there is no such path (another drive)."""
    try:
        return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:
        return path.absolute().as_posix()
