# SPDX-License-Identifier: Apache-2.0
"""Tasks of the Medical Segmentation Decathlon (Antonelli et al., Nature Communications 2022,
doi:10.1038/s41467-022-30695-9) as data sets of ours."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import nibabel as nib
import numpy as np

from wss_monai.data.label_semantics import BACKGROUND
from wss_monai.data.releases.modalities import check_label_grid
from wss_monai.data.releases.preparation import Entry, Preparation, opened, preparation, refuse_missing, some
from wss_monai.data.releases.volumes import as_values, copy_image, load_volume
from wss_monai.data.simulated_tags import (
    TAGGED,
    TAGS_TEXT,
    checked_class_name,
    file_word,
    merged_labels,
    slice_tags,
)
from wss_monai.io.json_files import parse_json
from wss_monai.io.nifti_files import write_like
from wss_monai.io.volumes import without_suffix

__all__ = ["MERGED", "TASKS", "prepare_decathlon"]

TASKS = {
    1: ("braintumour", "brats"),
    2: ("heart", "atrium"),
    3: ("liver",),
    4: ("hippocampus",),
    5: ("prostate",),
    6: ("lung",),
    7: ("pancreas",),
    8: ("hepaticvessel",),
    9: ("spleen",),
    10: ("colon",),
}
"""Words, letters only, by which the name in a task's dataset.json is known."""
MERGED = {1: "whole tumour", 5: "prostate"}
"""The class that all labels of a task become unless they are kept apart."""
SHOWN = 5
_WANTED = re.compile(r"(^|/)(dataset\.json|(images|labels)(Tr|Ts)/[^/.][^/]*\.nii(\.gz)?)$")


@dataclass(frozen=True)
class _Release:
    """A task as its own dataset.json describes it, checked.

    Attributes:
        root: the folder that its paths start from.
        modalities: names, in the order of the last axis of its 4D images.
        labels: value -> class name.
        training: image and label of each training case, by the case's name.
        test: the same; label None where there is none.
    """

    root: Path
    raw: dict[str, Any]
    modalities: list[str]
    labels: dict[str, str]
    training: dict[str, tuple[Path, Path | None]]
    test: dict[str, tuple[Path, Path | None]]

    @property
    def labelled(self) -> dict[str, str]:
        """The part of each case that can be used: all of training, and what has a label of test."""
        return dict.fromkeys((name for name, (_, label) in self.test.items() if label is not None), "test") | (
            dict.fromkeys(self.training, "training")
        )


def prepare_decathlon(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    task: int,
    merge: str | None = None,
    keep_classes: bool = False,
    patients: Sequence[str] | None = None,
) -> Preparation:
    """Convert a task to a folder with `dataset.json`, images/ (a file a modality) and labels/.

    4D images (X, Y, Z, M) become one NIfTI file a modality with the values and the type that they have; 3D images are
    copied. Every case is a patient of its own, since the release does not say who is who. `slice_tags` are read off the
    dense labels. Test images come without labels and are left out with a note. A case whose files are missing,
    unreadable or contradict each other is skipped with a note, and so is one whose image is that of another. The result
    appears under `out` complete or not at all.

    Args:
        source: TaskNN_Name.tar or another archive, or the folder it was unpacked to.
        out: the folder to make.
        task: its number, 1 to 10, which the archive must bear out.
        merge: name of the one class that all labels become; None: that of `MERGED`, if the task has one there.
        keep_classes: keep the classes apart.
        patients: convert these only; each must be there and sound.

    Returns:
        Counts and notes.

    Raises:
        FileExistsError: `out` is there already and not empty.
        FileNotFoundError: the source is missing.
        ValueError: the archive is another task, unsafe or damaged; its dataset.json is not what the release has; no
            case is left; or one asked for cannot be converted.
    """
    source = Path(source)
    if task not in TASKS:
        raise ValueError(f"task must be one of {min(TASKS)} to {max(TASKS)}, got {task}")
    if merge is not None and keep_classes:
        raise ValueError(f"merge='{merge}' and keep_classes exclude each other; give one")
    refuse_missing(
        source,
        "give the archive TaskNN_Name.tar of the Medical Segmentation Decathlon (data/README.md says how to get it), "
        "or the folder it was unpacked to",
    )
    name = None if keep_classes else merge or MERGED.get(task)
    with preparation(out) as done:
        release = _read(opened(source, done.work / "source", _WANTED), source, task)
        labels = release.labels if name is None else merged_labels(release.labels, checked_class_name(name, "merge"))
        parts = done.convert(release.labelled, lambda case: [_convert(case, release, labels, done)], patients)
        if left := sorted(set(release.test) - set(release.labelled)):
            done.notes.append(("test", f"left out, no labels: {len(left)} images ({some(left)})"))
        done.refuse_none(parts["training"])
        if task == 4:
            done.notes.append(
                ("patients", "the release has both hippocampi of some people and does not say of whom: splits may leak")
            )
        done.finish(_description(release, labels, parts, task))
    return done


def _read(root: Path, source: Path, task: int) -> _Release:
    """Find and check the dataset.json of the release."""
    files = [path for path in (root / "dataset.json", *sorted(root.glob("*/dataset.json"))) if path.is_file()]
    if len(files) != 1:
        found = "no dataset.json" if not files else f"{len(files)} tasks: {[file.parent.name for file in files]}"
        raise ValueError(
            f"'{source}' is no task of the Decathlon: it holds {found}; give one TaskNN_Name.tar or folder"
        )
    where = f"the dataset.json of '{source}'"
    try:
        raw = parse_json(files[0].read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{where} is no JSON: {error}; download the archive again") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{where} must hold an object, got {type(raw).__name__}")
    _check_task(raw, source if files[0].parent == root else files[0].parent, source, task)
    modalities = _table(raw.get("modality"), "modality", where)
    labels = {str(value): name for value, name in _table(raw.get("labels"), "labels", where).items()}
    labels["0"] = BACKGROUND
    if list(modalities) != list(range(len(modalities))) or len(set(modalities.values())) < len(modalities):
        raise ValueError(f"{where}: 'modality' must number its names from 0 and name each once, got {raw['modality']}")
    parts = {part: _entries(raw.get(part, []), part, files[0].parent, where) for part in ("training", "test")}
    if twice := sorted(set(parts["test"]) & set(parts["training"])):
        raise ValueError(f"cases {twice[:SHOWN]} are in 'training' and in 'test' of the release's dataset.json")
    return _Release(files[0].parent, raw, list(modalities.values()), labels, parts["training"], parts["test"])


def _check_task(raw: dict[str, Any], folder: Path, source: Path, task: int) -> None:
    """Refuse another task than the one asked for, by the names of the data set, its folder and the archive."""
    said = {f"its dataset.json calls it '{raw.get('name')}'": _task_of(str(raw.get("name")))}
    for name in (folder.name, source.name):
        said[f"its name is '{name}'"] = _task_number(name)
    for what, number in said.items():
        if number not in (None, task):
            raise ValueError(f"'{source}' is task {number}, not task {task}: {what}; give --task {number}")
    if set(said.values()) == {None}:
        raise ValueError(
            f"'{source}' cannot be told to be task {task} ({TASKS[task][0]}): {next(iter(said))}; give the release's "
            "archive, or a folder that has the task in its name, as in Task05_Prostate"
        )


def _task_of(name: str) -> int | None:
    """Tell the task by the name of a data set, such as PROSTATE or "Left Atrium"; None where it says nothing."""
    letters = re.sub(r"[^a-z]", "", name.lower())
    by_word = next((number for number, words in TASKS.items() if any(word in letters for word in words)), None)
    return _task_number(name) or by_word


def _task_number(name: str) -> int | None:
    """Tell the task by a file's name such as Task05_Prostate.tar; other names are the user's own and say nothing."""
    match = re.search(r"task[_ -]?0*(\d+)", name, re.I)
    return int(match[1]) if match else None


def _table(table: Any, key: str, where: str) -> dict[int, str]:
    """Check a map from numbers to names; sorted by number."""
    good = isinstance(table, dict) and table and all(re.fullmatch(r"\d{1,3}", str(k)) for k in table)
    if not good or not all(isinstance(name, str) and name.strip() for name in table.values()):
        raise ValueError(f"{where}: '{key}' must map numbers to names, got {table!r}")
    return dict(sorted((int(number), name.strip()) for number, name in table.items()))


def _entries(items: Any, part: str, root: Path, where: str) -> dict[str, tuple[Path, Path | None]]:
    """Check the list of cases: files within the folder, each case once."""
    if not isinstance(items, list):
        raise ValueError(f"{where}: '{part}' must be a list, got {type(items).__name__}")
    cases: dict[str, tuple[Path, Path | None]] = {}
    for item in items:
        entry = {"image": item} if isinstance(item, str) else item
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise ValueError(f"{where}: '{part}' must list cases with an 'image', got {item!r}")
        name = without_suffix(PurePosixPath(entry["image"]).name)
        if name in cases or re.fullmatch(r"\w[\w.-]*", name) is None:
            raise ValueError(f"{where}: '{part}' has the case '{name}' twice, or it is no name for files")
        label = entry.get("label")
        cases[name] = (_within(root, entry["image"], where), None if label is None else _within(root, label, where))
    return cases


def _within(root: Path, path: Any, where: str) -> Path:
    """Give a path of the release; it must not lead out of its folder."""
    if not isinstance(path, str) or path.startswith("/") or "\\" in path or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{where} is refused: the path {path!r} leads out of its folder")
    return root / path


def _convert(name: str, release: _Release, labels: dict[str, str], done: Preparation) -> Entry:
    """Check both files of a case, then write them; ValueError says why it cannot be converted."""
    image_file, label_file = (release.training | release.test)[name]
    if label_file is None or not label_file.is_file():
        raise ValueError(f"{'its label' if label_file is None else label_file.name} is missing")
    if not image_file.is_file():
        raise ValueError(f"{image_file.name} is missing")
    image, values = load_volume(image_file)
    count = len(release.modalities)
    if image.ndim not in (3, 4) or (image.shape[3] if image.ndim == 4 else 1) != count:
        raise ValueError(
            f"{image_file.name} has the shape {image.shape}; {count} modalities {release.modalities} need "
            f"{'three axes' if count == 1 else f'(X, Y, Z, {count})'}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{image_file.name} holds intensities that are not finite (NaN or infinite)")
    channels = [values] if image.ndim == 3 else list(np.moveaxis(values, 3, 0))
    first = nib.Nifti1Image(channels[0], image.affine)
    mask, drawn = load_volume(label_file)
    check_label_grid(mask, label_file, first, image_file)
    label = as_values(drawn, label_file, [int(value) for value in release.labels])
    tags = slice_tags(label, labels)
    done.claim({name: values})
    if not label.any():
        done.notes.append((name, "its label is empty: no slice shows a class"))
    paths = []
    for modality, channel in zip(release.modalities, channels, strict=True):
        target = done.result / "images" / f"{name}{'' if count == 1 else '_' + file_word(modality)}.nii.gz"
        paths.append(copy_image(image, target) if image.ndim == 3 else write_like(_narrow(channel), image, target))
    path = write_like(label, first, done.result / "labels" / f"{name}.nii.gz")
    entry = {"case": name, "patient": name, "image": paths if count > 1 else paths[0], "label": path}
    return entry | {"weak_labels": TAGGED, "slice_tags": tags}


def _narrow(channel: np.ndarray) -> np.ndarray:
    """Give the values of a modality in their own type, or as float32 where that is wider."""
    return channel.astype(np.float32) if channel.dtype.itemsize > 4 else np.ascontiguousarray(channel)


def _description(release: _Release, labels: dict[str, str], parts: dict[str, list[Entry]], task: int) -> dict[str, Any]:
    raw = release.raw
    kept = {key: raw[key] for key in ("licence", "reference", "release") if isinstance(raw.get(key), str)}
    title = raw.get("description") if isinstance(raw.get("description"), str) else f"Task {task}"
    return {
        "name": f"Decathlon task {task}: {raw.get('name')}",
        "description": f"{title}; made from the Medical Segmentation Decathlon. {TAGS_TEXT}.",
        "source": "M. Antonelli et al., Nature Communications 13:4128, 2022, doi:10.1038/s41467-022-30695-9",
        **kept,
        "modality": {str(i): name for i, name in enumerate(release.modalities)},
        "labels": labels,
        **({"classes_of_release": release.labels} if labels != release.labels else {}),
        "slice_axis": 2,
        **parts,
    }
