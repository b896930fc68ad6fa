# SPDX-License-Identifier: Apache-2.0
"""The file `dataset.json`: reading, checking, writing. docs/reference/dataset-json.md describes the format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wss_monai.data.dataset import Dataset
from wss_monai.data.label_semantics import BACKGROUND, UNLABELLED_NAME, class_names_of
from wss_monai.data.validation import REQUIRED, examine
from wss_monai.io.atomic_files import replacing
from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_json

__all__ = [
    "BACKGROUND",
    "UNLABELLED_NAME",
    "Dataset",
    "class_names_of",
    "find_dataset",
    "parse_dataset",
    "read_dataset",
    "write_dataset",
]


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
    file = find_dataset(path)
    return parse_dataset(read_json(file), file)


def find_dataset(path: str | os.PathLike[str]) -> Path:
    """Find the `dataset.json` of a data set, given as its folder or as the file.

    Raises:
        FileNotFoundError: there is no such folder or no `dataset.json` in it.
    """
    file = Path(path)
    if file.suffix != ".json":
        file = file / "dataset.json"
    if not file.is_file():
        missing = "no data set folder" if not file.parent.is_dir() else "no dataset.json in"
        raise FileNotFoundError(
            f"{missing} '{file.parent}'. Generate one with `python -m wss_monai synthesize cardiac --out "
            f"{file.parent}`, convert ACDC with `python -m wss_monai prepare acdc --source acdc.zip --out "
            f"{file.parent}`, or describe your own data as docs/reference/dataset-json.md shows"
        )
    return file


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
        raise FormatFault(file, f"must hold a JSON object, got {type(raw).__name__}")
    if missing := [key for key in REQUIRED if key not in raw]:
        raise FormatFault(file, f"missing {missing}", f"a data set needs at least {list(REQUIRED)}")
    found = examine(raw, file)
    if found.faults:
        raise found.faults[0]
    return found.dataset


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
