# SPDX-License-Identifier: Apache-2.0
"""One case in a `dataset.json`: the rules for its entry, and for the files that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wss_monai.data.label_semantics import WeakMeaning, class_names_of, is_name, label_map, read_meaning
from wss_monai.io.volumes import without_suffix

__all__ = ["absolute", "check_case_entry", "check_files"]

PATH_KEYS = ("image", "label", "weak_label")


def check_case_entry(
    case: Any, where: str, file: Path, labels: dict[int, str], weak: WeakMeaning, seen: dict[str, str]
) -> dict[str, Any]:
    """Check one case, but for its files.

    Args:
        case: the entry of `dataset.json`.
        where: its place in the file.
        file: the `dataset.json`.
        labels: value map of the data set's dense labels.
        weak: what its weak labels mean.
        seen: the case ids so far and where they are; grows.

    Returns:
        The entry with `case` filled in.

    Raises:
        ValueError: it breaks a rule of the format.
    """
    if not isinstance(case, dict):
        raise ValueError(f"{file}: {where} must be an object, got {type(case).__name__}")
    name = case.get("case")
    if name is not None and not (is_name(name) and re.fullmatch(r"[^/\\.][^/\\]*", name)):
        raise ValueError(
            f"{file}: {where}: 'case' must be a text without slashes and without a leading dot, because results are "
            f"named after it; got {name!r}"
        )
    name = name or _name_from_files(case)
    if not is_name(name):
        raise ValueError(f"{file}: {where} has no 'image', 'label' or 'case', so that it has no name; add an 'image'")
    where = f"case '{name}' ({where})"
    name = str(name)
    if name in seen:
        raise ValueError(f"{file}: {where} has the same case id as {seen[name]}; give each case its own 'case'")
    seen[name] = where
    if not is_name(case.get("patient")):
        raise ValueError(
            f"{file}: {where} has no 'patient' (got {case.get('patient')!r}); name the person, because data are split "
            "by patient: two volumes of one person must carry the same 'patient'"
        )
    for key in ("group", "phase"):
        if case.get(key) is not None and not is_name(case[key]):
            raise ValueError(f"{file}: {where}: '{key}' must be a text, got {case[key]!r}")
    if case.get("labels") is not None:
        labels = label_map(case["labels"], f"{file}: {where}: 'labels'")
    _check_weak(case, where, file, weak)
    _check_tags(case, where, file, class_names_of(labels))
    return {**case, "case": name}


def _check_weak(case: dict[str, Any], where: str, file: Path, weak: WeakMeaning) -> None:
    """Check that a case has what its kind of weak label needs."""
    own = read_meaning(case.get("weak_labels"), f"{file}: {where}", "weak_labels", weak)
    drawn = case.get("weak_label") is not None
    if drawn and own.kind is None:
        raise ValueError(
            f"{file}: {where} has a 'weak_label', but the file does not say what its values mean; add "
            '"weak_label": {"kind": "scribble", "values": {"0": "background", ..., "255": "unlabelled"}}'
        )
    if "kind" not in (case.get("weak_labels") or {}):
        return
    traits = own.traits
    lacking = traits.needs and all(case.get(key) is None for key in traits.needs)
    if lacking and not (drawn and traits.drawn):
        need = " or ".join(f"'{key}'" for key in traits.needs)
        raise ValueError(f"{file}: {where}: 'weak_labels.kind' is '{own.kind}', but the case has no {need}; add it")
    if drawn and not traits.drawn:
        raise ValueError(
            f"{file}: {where}: 'weak_labels.kind' is '{own.kind}', but the case has a 'weak_label'; take one away"
        )


def check_files(case: dict[str, Any], where: str, file: Path, root: Path, outside: bool) -> None:
    """Check that the files a case names are there, in the data set's folder unless ``outside`` ones are allowed.

    Args:
        case: the entry of `dataset.json`.
        where: its name in messages.
        file: the `dataset.json`.
        root: its folder, resolved; relative paths start there.
        outside: allow paths that lead out of the folder; symbolic links are not followed.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a path is none, or leads out of the folder.
    """
    for key in PATH_KEYS:
        value = case.get(key)
        if value is None:
            continue
        several = isinstance(value, list) and key == "image" and len(value) > 0
        for item in value if several else [value]:
            if not is_name(item):
                raise ValueError(f"{file}: {where}: '{key}' must be a path, got {item!r}")
            path = Path(absolute(root, item))
            if not (outside or path.is_relative_to(root) or path.is_relative_to(os.path.abspath(file.parent))):
                raise ValueError(
                    f"{file}: {where}: '{key}' names '{item}', which lies outside of the data set's folder; copy or "
                    'move it into the folder, or write "files_outside": true at the top of the file'
                )
            if not (path.is_file() or (path.is_dir() and key == "image" and path != root)):
                raise FileNotFoundError(
                    f"{file}: {where}: '{key}' names a missing file '{item}' (looked for {path}); "
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


def _name_from_files(case: Mapping[str, Any]) -> str | None:
    """Derive a case id from the file name of the image (the first of several), else of the label."""
    for key in ("image", "label"):
        value = case.get(key)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, str) and first.strip():
            return without_suffix(Path(first).name)
    return None


def absolute(root: Path, value: str) -> str:
    """Give the absolute path of what a case names."""
    return os.path.normpath(root / value)
