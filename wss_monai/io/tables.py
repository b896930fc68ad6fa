# SPDX-License-Identifier: Apache-2.0
"""Tables and JSON, each file whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from wss_monai.io.atomic_files import replacing

__all__ = ["write_csv", "write_json"]


def write_csv(path: str | PathLike[str], rows: Sequence[Mapping[str, Any]], wait: bool = True) -> None:
    """Write rows under the columns that any of them has; the folder is made where needed.

    Args:
        path: the file.
        rows: column -> value; what a row lacks stays empty.
        wait: until it is on the disk, as of `replacing`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path, wait) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, content: Any) -> None:
    """Write JSON.

    Raises:
        ValueError: a number is not finite.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
