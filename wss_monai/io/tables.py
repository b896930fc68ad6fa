# SPDX-License-Identifier: Apache-2.0
"""Tables and JSON, each file whole or not at all."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from wss_monai.io.atomic_files import replacing

__all__ = ["in_cell", "out_of_cell", "write_csv", "write_json"]

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet would compute, or that could be taken for one that was quoted."""


def in_cell(value: Any) -> Any:
    """Give what stands in a cell: a text that a spreadsheet would take for a formula gets a ' in front.

    Numbers, also those that are texts, stay as they are.
    """
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def out_of_cell(text: str) -> str:
    """Undo `in_cell`."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    if not _FORMULA.match(text):
        return False
    try:
        float(text.lstrip("'"))
    except ValueError:
        return True
    return False


def write_csv(path: str | PathLike[str], rows: Sequence[Mapping[str, Any]], wait: bool = True) -> None:
    """Write rows under the columns that any of them has; the folder is made where needed.

    Args:
        path: the file.
        rows: column -> value; what a row lacks stays empty, what a spreadsheet would compute is quoted (`in_cell`).
        wait: until it is on the disk, as of `replacing`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path, wait) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([in_cell(name) for name in columns])
        writer.writerows([in_cell(row.get(name, "")) for name in columns] for row in rows)


def write_json(path: Path, content: Any) -> None:
    """Write JSON.

    Raises:
        ValueError: a number is not finite.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
