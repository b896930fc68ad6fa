# SPDX-License-Identifier: Apache-2.0
"""Cases that a program hands over as a list, in the place of a `dataset.json`: MONAI Label, MONAI's datalists."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from wss_monai.data.dataset import Dataset
from wss_monai.data.label_semantics import UNLABELLED_NAME
from wss_monai.data.parts import Parts
from wss_monai.data.schema import parse_dataset
from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.kinds import WeakKind
from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_json
from wss_monai.io.volumes import without_suffix

__all__ = ["Given", "given_dataset", "given_parts", "validation_given"]

FILE = "datalist"
"""What messages call the list, where it is in no file."""
TESTS = ("test", "testing")
VALIDATING = "validation"
"""Key of the patients who validate in what a data set keeps of its description."""
Given = Mapping[str, Any] | Sequence[Any] | str | os.PathLike[str]


def given_dataset(given: Given, folder: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> Dataset:
    """Make a data set of cases that are given as a list.

    The content is that of a `dataset.json`, in which more may be missing: without `labels` the values of dense labels
    are the indices of ``class_names``; without `weak_label` so are those of weak ones, as scribbles, and 255 is
    unlabelled; a case without `patient` is a patient of its own, called as the case; without `case` it is called
    after its image, and after the folder of it where two images have the same name. `label_is: weak_label` says that
    what the cases have as `label` is a drawing. Files may lie anywhere, and keys of a case's own may have any name.

    Args:
        given: the cases for training, a list; or a dictionary as a `dataset.json`, with a list `validation` beside
            `training` and `test` (or `testing`); or a JSON file with either.
        folder: where relative paths start; of a JSON file its own folder.
        class_names: the classes, background first; needed where `labels` is missing.

    Returns:
        The data set; `training` holds the cases for validation too.

    Raises:
        FileNotFoundError: the JSON file, or a file of a case, is missing.
        ValueError: it is neither list nor dictionary, or breaks a rule of `dataset.json`.
    """
    file = Path(folder) / FILE
    if isinstance(given, (str, os.PathLike)):
        file = Path(given) if Path(given).is_absolute() or Path(given).exists() else Path(folder) / given
        if not file.is_file():
            raise FileNotFoundError(f"datalist: no file '{given}', neither here nor in '{folder}'")
        given = read_json(file)
    content: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"training": given}
    said = content.get("validation") is not None
    parts = {part: _cases(content.pop(part, None) or [], part, file) for part in ("training", "validation", *TESTS)}
    if not parts["training"]:
        raise FormatFault(file, "lists no case for training", "give a list such as [{'image': ..., 'label': ...}]")
    cases = [case for part in parts.values() for case in part]
    _name(cases)
    if (kind := content.pop("label_is", "label")) == "weak_label":
        for case in cases:
            if isinstance(case, dict) and case.get("label") is not None:
                case["weak_label"] = case.pop("label")
    elif kind != "label":
        raise FormatFault(file, f"'label_is' must be label or weak_label, got {kind!r}")
    if "labels" not in content:
        if class_names is None:
            raise FormatFault(file, "says nothing of its 'labels'", "set class_names, background first")
        content["labels"] = {str(index): name for index, name in enumerate(class_names)}
    weak = any(isinstance(case, dict) and case.get("weak_label") is not None for case in cases)
    if weak and "weak_label" not in content:
        names = dict.fromkeys(content["labels"].values()) if class_names is None else class_names
        values = {str(index): name for index, name in enumerate(names)} | {str(UNLABELLED): UNLABELLED_NAME}
        content["weak_label"] = {"kind": WeakKind.SCRIBBLE.value, "values": values}
    content = {"name": FILE, "files_outside": True, **content}
    content["training"] = [*parts["training"], *parts["validation"]]
    content["test"] = [case for part in TESTS for case in parts[part]]
    content[VALIDATING] = sorted({str(case["patient"]) for case in parts["validation"]}) if said else None
    return replace(parse_dataset(content, file), file_name=file.name)


def given_parts(dataset: Dataset, wanted: Set[str]) -> Parts:
    """Say who trains, validates and tests of a data set that was given; everybody trains who is in no other list.

    Args:
        dataset: as `given_dataset` makes it.
        wanted: these patients only.

    Returns:
        training, test and, where the list says who validates, or that nobody does, validation.
    """
    validating = dataset.raw[VALIDATING]
    parts = {
        "training": {case["patient"] for case in dataset.training} - set(validating or ()),
        "test": {case["patient"] for case in dataset.test},
    }
    if validating is not None:
        parts["validation"] = set(validating)
    return {part: sorted(patients & wanted) for part, patients in parts.items()}


def validation_given(dataset: Dataset) -> bool:
    """Tell whether a data set was given as a list that says who validates."""
    return VALIDATING in dataset.raw and isinstance(dataset.raw[VALIDATING], list)


def _cases(cases: Any, part: str, file: Path) -> list[Any]:
    if not isinstance(cases, Sequence) or isinstance(cases, str):
        raise FormatFault(file, f"'{part}' must be a list of cases, got {type(cases).__name__}")
    return [dict(case) if isinstance(case, Mapping) else case for case in cases]


def _name(cases: list[Any]) -> None:
    """Fill in the names of cases and patients where they are missing."""
    nameless = [case for case in cases if isinstance(case, dict) and _first(case) and not case.get("case")]
    counts = Counter(without_suffix(_first(case).name) for case in nameless)
    for case in nameless:
        path = _first(case)
        name = without_suffix(path.name)
        case["case"] = name if counts[name] == 1 else f"{path.parent.name}_{name}"
    for case in cases:
        if isinstance(case, dict) and isinstance(case.get("case"), str):
            case.setdefault("patient", case["case"])


def _first(case: Mapping[str, Any]) -> Path:
    """Give the path of the first image, an empty one where there is none."""
    image = case.get("image")
    image = image[0] if isinstance(image, list) and image else image
    return Path(image) if isinstance(image, (str, os.PathLike)) else Path()
