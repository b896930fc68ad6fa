# SPDX-License-Identifier: Apache-2.0
"""Tables that the first of several processes writes with what all of them found."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from wss_monai.data.whole_file import replacing

__all__ = ["first_process", "of_all_processes", "write_csv", "write_json"]

T = TypeVar("T")


def first_process() -> bool:
    """Whether this process is the one that writes."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def of_all_processes(found: T) -> list[T]:
    """What each process found, in the order of the processes; every process must call it."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return [found]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, found)
    return parts


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows under the columns that any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
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
