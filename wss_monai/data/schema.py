# SPDX-License-Identifier: Apache-2.0
"""The file `dataset.json`: reading, checking, writing. docs/reference/dataset-json.md describes the format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wss_monai.data.case_entry import absolute, check_case_entry, check_files
from wss_monai.data.label_semantics import (
    BACKGROUND,
    UNLABELLED_NAME,
    Meant,
    WeakMeaning,
    class_names_of,
    is_name,
    label_map,
    read_meaning,
    segment_map,
)
from wss_monai.functional.weak.kinds import WeakKind
from wss_monai.io.atomic_files import replacing

__all__ = [
    "BACKGROUND",
    "UNLABELLED_NAME",
    "Dataset",
    "class_names_of",
    "parse_dataset",
    "read_dataset",
    "write_dataset",
]

_REQUIRED = ("name", "labels", "training")


@dataclass(frozen=True)
class Dataset:
    """What a `dataset.json` says, checked.

    Attributes:
        name: the data set's name.
        root: folder of the file; relative paths start there.
        labels: file value of a dense label -> class name. Several values may share a name (classes merged).
        class_names: background first, then by file value; names that only single cases have come last.
        slice_axis: spatial axis (0, 1 or 2) along which the slices were drawn and are tagged.
        segments: segment name of a dense label drawn in 3D Slicer -> class name, beside the classes' own names.
        weak: what weak labels mean where a case does not say otherwise; kind None where the file does not say.
        training: the raw cases, with `case` filled in and unknown keys kept.
        test: the same for the test cases; empty where the file has none.
        raw: the whole file.
    """

    name: str
    root: Path
    labels: dict[int, str]
    class_names: list[str]
    slice_axis: int
    segments: dict[str, str]
    weak: WeakMeaning
    training: list[dict[str, Any]]
    test: list[dict[str, Any]]
    raw: dict[str, Any]

    @property
    def path(self) -> Path:
        """The `dataset.json` itself."""
        return self.root / "dataset.json"

    @property
    def weak_kind(self) -> str | None:
        """Kind of the data set's weak labels."""
        return self.weak.kind

    @property
    def weak_values(self) -> dict[int, Meant]:
        """File value of the data set's weak labels -> class name or "unlabelled"; of boxes also several names."""
        return self.weak.values

    @property
    def undrawn_means_absent(self) -> bool:
        """Whether the data set's weak labels show every class that is there."""
        return self.weak.undrawn_means_absent

    def weak_of(self, case: Mapping[str, Any]) -> WeakMeaning:
        """Give what the weak label of a case means, and which kind of case it is.

        The kind is the case's own, else the data set's where the case has a weak label; without one it is "dense" with
        a dense label, "tags" with tags, and "nothing" else. Values that stand for several classes are left out of
        what is no box.
        """
        own = case.get("weak_labels")
        found = read_meaning(own, f"case '{case.get('case')}'", "weak_labels", self.weak)
        if not found.traits.boxes:
            found = replace(found, values={v: meant for v, meant in found.values.items() if isinstance(meant, str)})
        if case.get("weak_label") is not None or "kind" in (own or {}):
            return found
        tagged = case.get("tags") is not None or case.get("slice_tags") is not None
        kind = WeakKind.DENSE if case.get("label") is not None else WeakKind.TAGS if tagged else WeakKind.NOTHING
        return replace(found, kind=kind.value)

    def segments_of(self, case: Mapping[str, Any]) -> dict[str, str]:
        """Give the names of segments in the dense label of a case: its own `segments`, else the data set's."""
        own = case.get("segments")
        return self.segments if own is None else dict(own)

    def labels_of(self, case: Mapping[str, Any]) -> dict[int, str]:
        """Give the file values of a case: its own `labels` where it has them, else the data set's."""
        own = case.get("labels")
        return self.labels if own is None else {int(value): name for value, name in own.items()}

    def file_of(self, case: Mapping[str, Any], key: str) -> str | list[str] | None:
        """Give the absolute path (for several modalities: the paths) under `key` of a case, None where it has none."""
        value = case.get(key)
        if value is None:
            return None
        if isinstance(value, list):
            return [absolute(self.root, item) for item in value]
        return absolute(self.root, value)


def read_dataset(path: str | os.PathLike[str]) -> Dataset:
    """Read and check a data set.

    Args:
        path: the data set's folder, or its `dataset.json`.

    Returns:
        The checked description. No volume is opened; that the files exist is checked.

    Raises:
        FileNotFoundError: there is no such folder or no `dataset.json` in it, or a case names a missing file.
        ValueError: the file is not JSON or breaks a rule of the format; the message names case, key and value.
    """
    file = Path(path)
    if file.suffix != ".json":
        file = file / "dataset.json"
    if not file.is_file():
        missing = "no data set folder" if not file.parent.is_dir() else "no dataset.json in"
        raise FileNotFoundError(
            f"{missing} '{file.parent}'. Generate one with `python -m wss_monai synthesize cardiac --out "
            f"{file.parent}`, "
            f"convert ACDC with `python -m wss_monai prepare acdc --source acdc.zip --out {file.parent}`, "
            "or describe your own data as docs/reference/dataset-json.md shows"
        )
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not a JSON file: {error}") from error
    return parse_dataset(raw, file)


def parse_dataset(raw: Any, file: str | os.PathLike[str]) -> Dataset:
    """Check the content of a `dataset.json` that lies, or will lie, at `file`.

    Args:
        raw: the decoded content.
        file: where it belongs; relative paths start at its folder, and errors name it.

    Raises:
        FileNotFoundError: a case names a missing file.
        ValueError: the content breaks a rule of the format.
    """
    file = Path(file)
    if not isinstance(raw, dict):
        raise ValueError(f"{file}: must hold a JSON object, got {type(raw).__name__}")
    missing = [key for key in _REQUIRED if key not in raw]
    if missing:
        raise ValueError(f"{file}: missing {missing}; a data set needs at least {list(_REQUIRED)}")
    if not is_name(raw["name"]):
        raise ValueError(f"{file}: 'name' must be a text, got {raw['name']!r}")
    labels = label_map(raw["labels"], f"{file}: 'labels'")
    slice_axis = raw.get("slice_axis", 2)
    if slice_axis not in (0, 1, 2) or isinstance(slice_axis, bool):
        raise ValueError(f"{file}: 'slice_axis' must be 0, 1 or 2 (an axis of the stored volume), got {slice_axis!r}")
    weak = read_meaning(raw.get("weak_label"), str(file), "weak_label")
    outside = raw.get("files_outside", False)
    if not isinstance(outside, bool):
        raise ValueError(f"{file}: 'files_outside' must be true or false, got {outside!r}")
    root = file.parent.resolve()
    seen: dict[str, str] = {}
    parts = {}
    for part in ("training", "test"):
        cases = raw.get(part, [])
        if not isinstance(cases, list):
            raise ValueError(f"{file}: '{part}' must be a list of cases, got {type(cases).__name__}")
        parts[part] = [check_case_entry(case, f"{part}[{i}]", file, labels, weak, seen) for i, case in enumerate(cases)]
        for i, case in enumerate(parts[part]):
            check_files(case, f"case '{case['case']}' ({part}[{i}])", file, root, outside)
    names = class_names_of(labels)
    for case in parts["training"] + parts["test"]:
        own = case.get("labels")
        names += [] if own is None else class_names_of({int(value): name for value, name in own.items()})
    names = list(dict.fromkeys(names))
    weak.refuse_strangers(names, str(file), "weak_label")
    segments = _segments(raw.get("segments"), f"{file}: 'segments'", names)
    for case in parts["training"] + parts["test"]:
        own = read_meaning(case.get("weak_labels"), str(file), "weak_labels", weak)
        own.refuse_strangers(names, f"{file}: case '{case['case']}'", "weak_labels")
        _segments(case.get("segments"), f"{file}: case '{case['case']}': 'segments'", names)
    return Dataset(
        name=raw["name"],
        root=root,
        labels=labels,
        class_names=names,
        slice_axis=slice_axis,
        segments=segments,
        weak=weak,
        training=parts["training"],
        test=parts["test"],
        raw=raw,
    )


def write_dataset(folder: str | os.PathLike[str], content: Mapping[str, Any]) -> Path:
    """Check `content` and write it as `folder/dataset.json`, whole or not at all.

    Args:
        folder: the data set's folder, with the files that the cases name already in it; made where missing.
        content: what `dataset.json` shall hold.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError, ValueError: as `read_dataset`; nothing is written then.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "dataset.json"
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    parse_dataset(json.loads(text), file)
    with replacing(file) as part:
        part.write_text(text, encoding="utf-8")
    return file


def _segments(segments: Any, where: str, names: list[str]) -> dict[str, str]:
    """Check a map from segments of dense labels to classes."""
    table = {} if segments is None else segment_map(segments, where)
    if strange := sorted({name for name in table.values() if name not in names}):
        raise ValueError(f"{where} names {strange}, which are no class of 'labels' {names}; use those names")
    return table
