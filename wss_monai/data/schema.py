# SPDX-License-Identifier: Apache-2.0
"""The file `dataset.json`: reading, checking, writing. docs/reference/dataset-json.md describes the format."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Dataset", "class_names_of", "parse_dataset", "read_dataset", "write_dataset"]

BACKGROUND = "background"
"""Name of class 0, always the meaning of the file value 0."""
UNLABELLED_NAME = "unlabelled"
"""Name that a weak label's value carries where nothing is known."""
PATH_KEYS = ("image", "label", "weak_label")
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
        weak_kind: "scribble", "points", "box" ..., or None where no case has a weak label.
        weak_values: file value of a weak label -> class name or "unlabelled".
        undrawn_means_absent: whether a class that was not drawn in a slice (2D) or volume (3D) is absent there.
        training: the raw cases, with `case` filled in and unknown keys kept.
        test: the same for the test cases; empty where the file has none.
        raw: the whole file.
    """

    name: str
    root: Path
    labels: dict[int, str]
    class_names: list[str]
    slice_axis: int
    weak_kind: str | None
    weak_values: dict[int, str]
    undrawn_means_absent: bool
    training: list[dict[str, Any]]
    test: list[dict[str, Any]]
    raw: dict[str, Any]

    @property
    def path(self) -> Path:
        """The `dataset.json` itself."""
        return self.root / "dataset.json"

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
            return [_absolute(self.root, item) for item in value]
        return _absolute(self.root, value)


def class_names_of(labels: Mapping[int, str]) -> list[str]:
    """Order the class names of a value map: background, then by file value, each name once."""
    return list(dict.fromkeys([BACKGROUND, *(labels[value] for value in sorted(labels))]))


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
    if not _is_name(raw["name"]):
        raise ValueError(f"{file}: 'name' must be a text, got {raw['name']!r}")
    labels = _labels(raw["labels"], f"{file}: 'labels'")
    slice_axis = raw.get("slice_axis", 2)
    if slice_axis not in (0, 1, 2) or isinstance(slice_axis, bool):
        raise ValueError(f"{file}: 'slice_axis' must be 0, 1 or 2 (an axis of the stored volume), got {slice_axis!r}")
    kind, values, absent = _weak(raw.get("weak_label"), file)
    root = file.parent.resolve()
    seen: dict[str, str] = {}
    parts = {}
    for part in ("training", "test"):
        cases = raw.get(part, [])
        if not isinstance(cases, list):
            raise ValueError(f"{file}: '{part}' must be a list of cases, got {type(cases).__name__}")
        parts[part] = [_case(case, f"{part}[{i}]", file, root, labels, kind, seen) for i, case in enumerate(cases)]
    names = class_names_of(labels)
    for case in parts["training"] + parts["test"]:
        own = case.get("labels")
        names += [] if own is None else class_names_of({int(value): name for value, name in own.items()})
    names = list(dict.fromkeys(names))
    strange = sorted({name for name in values.values() if name not in (*names, UNLABELLED_NAME)})
    if strange:
        raise ValueError(
            f"{file}: 'weak_label.values' names {strange}, which are no class of 'labels' {names}; "
            f"use those names or '{UNLABELLED_NAME}'"
        )
    return Dataset(
        name=raw["name"],
        root=root,
        labels=labels,
        class_names=names,
        slice_axis=slice_axis,
        weak_kind=kind,
        weak_values=values,
        undrawn_means_absent=absent,
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
    handle, temporary = tempfile.mkstemp(prefix=".dataset.json.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return file


def _case(
    case: Any, where: str, file: Path, root: Path, labels: dict[int, str], kind: str | None, seen: dict[str, str]
) -> dict[str, Any]:
    """Check one case; fill in `case`."""
    if not isinstance(case, dict):
        raise ValueError(f"{file}: {where} must be an object, got {type(case).__name__}")
    name = case.get("case")
    if name is not None and not (_is_name(name) and re.fullmatch(r"[^/\\.][^/\\]*", name)):
        raise ValueError(
            f"{file}: {where}: 'case' must be a text without slashes and without a leading dot, because results are "
            f"named after it; got {name!r}"
        )
    name = name or _name_from_files(case)
    if not _is_name(name):
        raise ValueError(f"{file}: {where} has no 'image', 'label' or 'case', so that it has no name; add an 'image'")
    where = f"case '{name}' ({where})"
    name = str(name)
    if name in seen:
        raise ValueError(f"{file}: {where} has the same case id as {seen[name]}; give each case its own 'case'")
    seen[name] = where
    if not _is_name(case.get("patient")):
        raise ValueError(
            f"{file}: {where} has no 'patient' (got {case.get('patient')!r}); name the person, because data are split "
            "by patient: two volumes of one person must carry the same 'patient'"
        )
    for key in ("group", "phase"):
        if case.get(key) is not None and not _is_name(case[key]):
            raise ValueError(f"{file}: {where}: '{key}' must be a text, got {case[key]!r}")
    if case.get("labels") is not None:
        labels = _labels(case["labels"], f"{file}: {where}: 'labels'")
    if case.get("weak_label") is not None and kind is None:
        raise ValueError(
            f"{file}: {where} has a 'weak_label', but the file does not say what its values mean; add "
            '"weak_label": {"kind": "scribble", "values": {"0": "background", ..., "255": "unlabelled"}}'
        )
    _check_files(case, where, file, root)
    _check_tags(case, where, file, class_names_of(labels))
    return {**case, "case": name}


def _check_files(case: dict[str, Any], where: str, file: Path, root: Path) -> None:
    """Check that the files a case names are there."""
    for key in PATH_KEYS:
        value = case.get(key)
        if value is None:
            continue
        several = isinstance(value, list) and key == "image" and len(value) > 0
        for item in value if several else [value]:
            if not _is_name(item):
                raise ValueError(f"{file}: {where}: '{key}' must be a path, got {item!r}")
            if not Path(_absolute(root, item)).is_file():
                raise FileNotFoundError(
                    f"{file}: {where}: '{key}' names a missing file '{item}' (looked for {_absolute(root, item)}); "
                    "paths start at the folder of dataset.json"
                )


def _check_tags(case: dict[str, Any], where: str, file: Path, names: list[str]) -> None:
    """Check `tags` (K,) and `slice_tags` (S, K)."""
    rule = f"{len(names)} values out of 1 (present), 0 (absent), -1 (unknown), in the order {names}"
    tags = case.get("tags")
    if tags is not None and not _is_tag_row(tags, len(names)):
        raise ValueError(f"{file}: {where}: 'tags' must be {rule}; got {tags!r}")
    rows = case.get("slice_tags")
    if rows is None:
        return
    if not isinstance(rows, list) or not rows:
        raise ValueError(
            f"{file}: {where}: 'slice_tags' must be a list with one row a slice, each {rule}; got {rows!r}"
        )
    for i, row in enumerate(rows):
        if not _is_tag_row(row, len(names)):
            raise ValueError(f"{file}: {where}: 'slice_tags' row {i} must be {rule}; got {row!r}")


def _is_tag_row(row: Any, length: int) -> bool:
    return isinstance(row, list) and len(row) == length and all(type(v) is int and v in (1, 0, -1) for v in row)


def _labels(labels: Any, where: str) -> dict[int, str]:
    """Check a map of file values to class names."""
    values = _value_map(labels, where)
    if values.get(0) != BACKGROUND:
        found = f"'{values[0]}'" if 0 in values else "missing"
        raise ValueError(f'{where}: value 0 must be \'{BACKGROUND}\', it is {found}; write "0": "{BACKGROUND}"')
    if UNLABELLED_NAME in values.values():
        raise ValueError(f"{where}: '{UNLABELLED_NAME}' is no class; dense labels know every voxel")
    return values


def _weak(section: Any, file: Path) -> tuple[str | None, dict[int, str], bool]:
    """Check the section `weak_label`: kind, value map, and what undrawn classes mean."""
    if section is None:
        return None, {}, False
    if not isinstance(section, dict) or not _is_name(section.get("kind")) or "values" not in section:
        raise ValueError(f"{file}: 'weak_label' must be an object with 'kind' and 'values', got {section!r}")
    absent = section.get("undrawn_means_absent", False)
    if not isinstance(absent, bool):
        raise ValueError(f"{file}: 'weak_label.undrawn_means_absent' must be true or false, got {absent!r}")
    return section["kind"], _value_map(section["values"], f"{file}: 'weak_label.values'"), absent


def _value_map(values: Any, where: str) -> dict[int, str]:
    if not isinstance(values, dict) or not values:
        raise ValueError(f'{where} must be an object like {{"0": "background", "1": "LV"}}, got {values!r}')
    for value, name in values.items():
        if not re.fullmatch(r"-?\d+", str(value)) or not _is_name(name):
            raise ValueError(f'{where} must map file values to class names, as in "1": "LV"; got {value!r}: {name!r}')
    return {int(value): name for value, name in values.items()}


def _name_from_files(case: Mapping[str, Any]) -> str | None:
    """Derive a case id from the file name of the image (the first of several), else of the label."""
    for key in ("image", "label"):
        value = case.get(key)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, str) and first.strip():
            return re.sub(r"\.(nii(\.gz)?|nrrd|mha|mhd)$", "", Path(first).name, flags=re.IGNORECASE)
    return None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _absolute(root: Path, value: str) -> str:
    return os.path.normpath(root / value)
