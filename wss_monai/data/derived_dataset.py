# SPDX-License-Identifier: Apache-2.0
"""A data set made from another: new maps in a folder of their own, images and dense labels where they were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wss_monai.data.schema import Dataset

__all__ = ["carried", "leads_outside", "moved_case", "relative_path"]

KEPT = ("image", "label")


def carried(dataset: Dataset) -> dict[str, Any]:
    """Copy what `dataset` says, without a `$schema` that lies beside it: the other folder has none."""
    beside = "://" not in str(dataset.raw.get("$schema"))
    return {key: value for key, value in dataset.raw.items() if not (key == "$schema" and beside)}


def moved_case(dataset: Dataset, case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Copy a case of `dataset` with the paths of its image and dense label as seen from `folder`; None: it has none."""
    return {**case, **{key: relative_path(dataset.file_of(case, key), folder) for key in KEPT}}


def leads_outside(cases: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a path of an image or dense label leads out of the data set's folder."""
    files = [case[key] for case in cases for key in KEPT if case.get(key) is not None]
    paths = [Path(path) for item in files for path in ([item] if isinstance(item, str) else item)]
    return any(path.is_absolute() or ".." in path.parts for path in paths)


def relative_path(path: str | list[str] | None, folder: Path) -> str | list[str] | None:
    """Give a path relative to the folder, or as it is where there is no such path (another drive)."""
    if path is None or isinstance(path, list):
        return path and [str(relative_path(item, folder)) for item in path]
    try:
        return Path(os.path.relpath(Path(path).resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path
